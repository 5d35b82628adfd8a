"""Which trace the running turn belongs to. Pure."""

from dataclasses import dataclass
from typing import Any

from jelmore_protocol.tracing import turn_context


@dataclass(frozen=True, slots=True)
class TracedTurn:
    """The turn of one input. `parent` is the `traceparent` of the call that brought the input, empty without one."""

    input_id: str = ""
    parent: str = ""
    started_at: float = 0.0  # seconds since 1970

    def context_of(self, running: str | None) -> str:
        """Return the `traceparent` for what the turn calls, if its input is the one that runs."""
        return turn_context(self.parent, self.input_id) if running == self.input_id else ""

    def note_of(self, input_id: str | None) -> dict[str, Any]:
        """Return what the end of this input's turn says of its trace; nothing without one.

        A manager reports the turn from it: the sandbox has no way to a receiver of traces.
        """
        if not self.parent or input_id != self.input_id:
            return {}
        return {"trace": {"parent": self.parent, "started_at": self.started_at}}
