"""Starts Claude Code, restarts it where that helps, and reports how the run ended."""

import asyncio
import time
from typing import Final
from uuid import uuid4

from jelmore_protocol.control import Stop
from jelmore_protocol.events import EventKind
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.agents.base import AgentContext, Exited
from jelmore_runner.agents.claude.agent import Agent
from jelmore_runner.agents.claude.ahead import Ahead
from jelmore_runner.agents.claude.answers import Asker
from jelmore_runner.agents.claude.connection import Connection
from jelmore_runner.agents.claude.folders import end_leftovers, prepare_folders
from jelmore_runner.agents.claude.hooks import Observer
from jelmore_runner.agents.claude.mirror import Mirror
from jelmore_runner.agents.claude.options import Launch, Start
from jelmore_runner.agents.claude.restarts import Conversation as NextConversation
from jelmore_runner.agents.claude.restarts import Ending, GiveUp, StartAgain, decide
from jelmore_runner.agents.claude.restoring import Restoring
from jelmore_runner.agents.claude.rewind import Rewind
from jelmore_runner.errors import RefusedError

LAST_LINES: Final = 20


class Lifecycle:
    """Owns the agent of this run. `run` is called once."""

    def __init__(self, context: AgentContext, ahead: Ahead | None = None) -> None:
        """Set up for a session. `ahead` may have a process that was started before the session was there."""
        self.agent: Agent | None = None
        init, ports = context.init, (context.gateway_port, context.egress_port)
        launch = Launch(context.settings, init.session_id, init.options, *ports)
        session = context.session
        self._launch = launch
        self._session = session
        self._ahead = ahead
        self._hook = Observer(session, context.files)
        self._resume = context.resume
        stored, transcripts = init.transcript, context.transcripts
        self._mirror = Mirror(transcripts, session)
        home, as_agent = launch.settings.home, launch.settings.as_agent
        self._restoring = Restoring(home, launch.directory, session, transcripts, stored, as_agent)
        known = session.projection.conversation_id or (stored.conversation_id if stored else None)
        self._conversation_id = known or init.session_id
        self._lost: str | None = None  # why the previous conversation cannot be resumed, until a fresh one starts
        self._on_ready = context.on_ready
        self._stop: Stop | None = None
        self._stopping = asyncio.Event()
        self._restarted_at: tuple[float, ...] = ()
        self._switched = False
        self._rewind: Rewind | None = None  # what the process that ended last was ended for

    @property
    def live(self) -> Agent | None:
        """Claude Code while its process takes commands, else None."""
        return self.agent if self.pid is not None else None

    @property
    def pid(self) -> int | None:
        """Claude Code's pid while it runs, else None."""
        return self.agent.pid if self.agent is not None else None

    def stop(self, stop: Stop) -> None:
        """End the current process and start no other. Returns at once."""
        self._stop = self._stop or stop
        self._stopping.set()
        self._session.agent_stopping()
        if self.agent is not None:
            self.agent.stop(stop.grace_s, final=stop.final)

    async def run(self) -> Exited:
        """Return how the run ended, after all processes of Claude Code have ended."""
        connection = await self._taken_over()
        if connection is None:
            await asyncio.to_thread(end_leftovers, self._launch)
            await asyncio.to_thread(self._prepare_folders)
        while True:
            await self._check_transcript()
            if self._stopping.is_set():
                if connection is not None:
                    await connection.discard()
                return self._exited(None, self._reason, requested=True)
            ending = await self._live(connection or Connection(self._launch, self._start()))
            connection = None
            if await self._rewound(ending):
                continue
            if self._stopping.is_set():
                return self._exited(ending, self._reason, requested=True)
            move = decide(ending, self._restarted_at, time.monotonic(), self._switched)
            if isinstance(move, GiveUp):
                return self._exited(ending, move.reason, requested=False)
            await self._prepare(move, ending)

    @property
    def _reason(self) -> str:
        return self._stop.reason if self._stop else ""

    async def _taken_over(self) -> Connection | None:
        """Return the process that was started ahead, if it can be this session's."""
        if self._ahead is None:
            return None
        return await self._ahead.take(self._launch, self._start(), self._stopping)

    def _start(self) -> Start:
        budget_usd = self._session.budget_usd
        return Start(
            conversation_id=self._conversation_id,
            resume=self._resume,
            permission_mode=self._session.permission_mode,
            max_budget_usd=None if budget_usd is None else self._session.spending.limit_for_next_process(budget_usd),
        )

    async def _live(self, connection: Connection) -> Ending:
        self._session.conversation_id = self._conversation_id
        folders = (self._launch.settings.workspace, self._launch.settings.home)
        connection.callbacks.bind(Asker(self._session, folders), self._hook, self._mirror)
        self.agent = Agent(connection, self._session, self._started)
        try:
            return await self.agent.run()
        finally:
            self._rewind = self.agent.rewinding
            self.agent = None
            self._conversation_id = self._session.conversation_id or self._conversation_id  # the user may clear it

    async def _rewound(self, ending: Ending) -> bool:
        """Carry out the rewind that the process was ended for; return whether there was one and a next one starts."""
        rewind, self._rewind = self._rewind, None
        if rewind is None or rewind.done.done():
            return rewind is not None and not self._stopping.is_set()
        self._session.agent_gone("rewound", ending.exit_code)
        self._choose(NextConversation.RESUME)
        if self._stopping.is_set():
            rewind.fail(RefusedError(ErrorCode.UNAVAILABLE, "the session is being stopped"))
            return False
        try:
            left = await self._restoring.rewind(self._conversation_id, rewind)
        except RefusedError as error:
            rewind.fail(error)
            return True
        if not left:
            self._choose(NextConversation.FRESH_ID)
            self._session.conversation_rewound(self._conversation_id)
        if not rewind.done.done():
            rewind.done.set_result(None)
        return True

    def _started(self) -> None:
        self._switched = False
        if self._lost is not None:
            self._session.conversation_lost(self._conversation_id, self._lost)
            self._lost = None
        self._on_ready()

    async def _check_transcript(self) -> None:
        if self._resume and (damage := await self._restoring.damage(self._conversation_id)):
            self._lost = damage
            self._choose(NextConversation.FRESH_ID)

    def _prepare_folders(self) -> None:
        try:
            prepare_folders(self._launch)
        except OSError as error:  # Claude Code then says why it does not start
            self._session.error("folders_not_prepared", str(error))

    def _choose(self, conversation: NextConversation) -> None:
        self._resume = conversation is NextConversation.RESUME
        if conversation is NextConversation.FRESH_ID:
            self._conversation_id = str(uuid4())

    async def _prepare(self, move: StartAgain, ending: Ending) -> None:
        if not move.counted:
            if move.conversation is not NextConversation.RESUME:
                if await self._restoring.restore(self._conversation_id, "Claude Code could not read it"):
                    return
                self._lost = "Claude Code does not find a readable transcript"
            self._choose(move.conversation)
            self._switched = True
            return
        self._choose(move.conversation)
        self._restarted_at = (*self._restarted_at, time.monotonic())
        words = f"Claude Code ended unexpectedly ({_how(ending.exit_code)}) and is started again"
        died = {"code": "agent_died", "message": words, "exit_code": ending.exit_code}
        self._session.agent_gone("agent_died", ending.exit_code, (EventKind.ERROR, died))
        if move.delay_s:
            try:
                async with asyncio.timeout(move.delay_s):
                    await self._stopping.wait()
            except TimeoutError:
                return

    def _exited(self, ending: Ending | None, reason: str, *, requested: bool) -> Exited:
        code = ending.exit_code if ending else None
        bad = not requested and code != 0
        lines = ending.text.splitlines()[-LAST_LINES:] if ending and bad else []
        data = {"exit_code": code, "reason": reason, "requested": requested, "stderr": lines}
        error = None if requested else f"{reason} ({_how(code)})" + (f": {lines[-1]}" if lines else "")
        return Exited("stopped" if requested else "agent_died", data, error, code)


def _how(code: int | None) -> str:
    if code is None:
        return "no exit code"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
