"""Looks at the world of a session: its container, the runner in it, its route, and who follows it.

Questions that do not depend on each other are asked at once: a create waits for the slowest, not for their sum.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

from jelmore.control.meanwhile import meanwhile
from jelmore.control.relay import Relays
from jelmore.control.sandbox_lookup import SandboxLookup
from jelmore.control.standstill import Standstill
from jelmore.ports import ControlAddress, Edge, Runners, Sandboxes
from jelmore.session.errors import JelmoreError
from jelmore.session.record import Session
from jelmore.session.states import ContainerPhase, Presence, Wanted
from jelmore.session.world import AgentAhead, Runner, RunnerPhase, SandboxState, World
from jelmore_protocol.control import Health
from jelmore_protocol.events import AgentState


class Observer:
    """Observes the worlds of sessions. Changes nothing."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        runners: Runners,
        edge: Edge,
        lookup: SandboxLookup,
        relays: Relays,
        standstill: Standstill,
        *,
        probes_failed: Callable[[UUID], int],
    ) -> None:
        self._sandboxes = sandboxes
        self._runners = runners
        self._edge = edge
        self._lookup = lookup
        self._relays = relays
        self._standstill = standstill
        self._probes_failed = probes_failed

    async def world(self, session: Session, answer_s: float | None) -> World:
        """Return the world; the runner may take `answer_s` to answer (None: as long as any call).

        Raises DependencyError without the engine, the edge or PostgreSQL.
        """
        hint, serves = self._hint(session), session.container_phase is not ContainerPhase.NONE
        async with (
            meanwhile(f"ask-{session.id}", self._ask(hint, answer_s)) as asked,
            meanwhile(f"followed-{session.id}", self._followed(session, serves)) as followed,
        ):
            # While it starts, one call for the container that it should have. Later, also a newer one must be seen:
            # of a manager that died before it had stored the generation.
            starts = session.container_phase is ContainerPhase.STARTING
            sandbox = await self._sandboxes.observe(session.id, session.generation if starts else None)
            self._lookup.saw(session.id, sandbox)
            runner = None
            if (
                sandbox is not None
                and sandbox.state is SandboxState.RUNNING
                and sandbox.generation == session.generation
            ):
                at = sandbox.control
                runner = await (asked if at == hint else self._ask(at, answer_s))
            return World(
                sandbox=sandbox,
                runner=runner,
                route=await self._edge.route(session.id),
                attached=runner is not None and await (followed if serves else self._followed(session, True)),
                probes_failed=self._probes_failed(session.id),
                watched_since=self._standstill.since(),
            )

    def _hint(self, session: Session) -> ControlAddress | None:
        """Return where the runner listens unless its sandbox was replaced; None when it may be paused or gone."""
        expected = session.presence is Presence.AWAKE and session.wanted is Wanted.RUNNING and not session.ended
        return self._lookup.hint(session.id, session.generation) if expected else None

    async def _followed(self, session: Session, ask: bool) -> bool:
        return ask and await self._relays.followed(session)

    async def _ask(self, at: ControlAddress | None, answer_s: float | None) -> Runner | None:
        """Return the state that the runner reports; None when it does not answer in time or refuses."""
        if at is None:
            return None
        try:
            async with asyncio.timeout(answer_s):
                return runner_view(await self._runners.health(at))
        except (JelmoreError, TimeoutError):
            return None


def runner_view(health: Health) -> Runner:
    """Convert a runner's health reply to the `Runner` of the pure core."""
    return Runner(
        phase=RunnerPhase(health.phase.value),
        generation=health.generation,
        seq=health.seq,
        working=health.state is AgentState.ACTIVE,
        draining=health.quiet,
        stopping=health.stopping,
        background=health.background,
        waiting_for=health.waiting_for,
        agent_pid=health.agent_pid,
        agent_ahead=AgentAhead(health.agent_ahead.value) if health.agent_ahead else None,
        exit_code=health.agent_exit_code,
        error=health.error,
        protocol=health.protocol,
        oldest_protocol=health.oldest_protocol,
    )
