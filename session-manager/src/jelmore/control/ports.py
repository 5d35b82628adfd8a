"""What the parts of the control plane use to act on sessions, in one value."""

from dataclasses import dataclass, field

from jelmore.control.sandbox_lookup import SandboxLookup
from jelmore.control.traces import Traces
from jelmore.ports import Clock, ControlAddress, Edge, LiveOutput, Runners, Sandboxes, Store
from jelmore.session.record import Session


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that a part of the control plane may use, and what it needs to call runners and to trace that."""

    store: Store
    sandboxes: Sandboxes
    runners: Runners
    edge: Edge
    live: LiveOutput
    clock: Clock
    lookup: SandboxLookup = field(default_factory=SandboxLookup)
    traces: Traces = field(default_factory=Traces)

    async def control_of(self, session: Session) -> ControlAddress:
        """Return the control address of the session's runner. Raises DependencyError while there is no sandbox."""
        return await self.lookup.control(self.sandboxes, session)
