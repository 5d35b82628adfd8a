"""What a runner does before its session is there: it opens the ways out and starts the agent, if it is asked to."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from jelmore_protocol.control import AgentAhead, Init, Prepare
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.agents.base import AgentsAhead
from jelmore_runner.errors import RefusedError
from jelmore_runner.init_check import check_prepare
from jelmore_runner.journal_file import JournalFile
from jelmore_runner.settings import Settings
from jelmore_runner.supervisor import Supervisor
from jelmore_runner.ways_out import WaysOut
from jelmore_runner.workspace_helpers import Helpers


class Preparation:
    """The ways out, and the agent that waits for its session. `agent` is None where none can be started ahead."""

    def __init__(
        self, settings: Settings, supervisor: Supervisor, helpers: Helpers, agent: AgentsAhead | None = None
    ) -> None:
        self.ways_out = WaysOut(settings, supervisor)
        self._workspace = settings.workspace
        self._helpers = helpers
        self._agent = agent
        self._over = False

    @property
    def state(self) -> AgentAhead | None:
        """What there is, or what has become of it; None where no agent can be started ahead."""
        return self._agent.state if self._agent is not None else None

    @property
    def pid(self) -> int | None:
        """The pid of the agent's process while it waits, else None."""
        return self._agent.pid if self._agent is not None else None

    def close(self) -> None:
        """Prepare nothing more: the run has ended."""
        self._over = True

    def begin(self) -> None:
        """Prepare nothing more: the session is there, and may get the agent."""
        self._over = True
        if self._agent is not None:
            self._agent.check()

    async def let_out(self, token: str, trace: Callable[[], str]) -> None:
        """Open the ways out for the session, once the agent makes no calls that are not the session's."""
        if self._agent is not None:
            await self._agent.quiet()
        self.ways_out.serve(token, trace)
        await self.ways_out.open()

    async def want(self, wanted: Prepare) -> None:
        """Start the agent as asked for. Returns before it is connected; may run any number of times.

        Raises RefusedError.
        """
        check_prepare(wanted)
        if self._agent is None:
            raise RefusedError(ErrorCode.CONFLICT, "this runner's agent cannot be started ahead")
        await self.ways_out.open()
        if self._over:
            raise RefusedError(ErrorCode.CONFLICT, "the session is there, or this runner has been stopped")
        self._agent.want(wanted, self.ways_out.gateway_port, self.ways_out.egress_port)

    async def agent_for(self, init: Init, journal: JournalFile) -> AgentsAhead | None:
        """Return the agent that was started ahead. None, after its end, when it may have missed files of the session.

        An agent reads its instructions, its settings and its transcript when it starts.
        """
        agent = self._agent
        if agent is None or agent.state is AgentAhead.NONE:
            return agent
        began = bool(len(journal.seqs)) or init.resume or init.transcript is not None or init.setup is not None
        if began or self._helpers.used or await asyncio.to_thread(_has_entries, self._workspace):
            await agent.end()
            return None
        return agent

    async def end(self) -> None:
        """End the agent that still waits. May run any number of times."""
        if self._agent is not None:
            await self._agent.end()


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return True
