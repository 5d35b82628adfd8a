"""One run of a session: from dormant through init to its end, with its stream and its health."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Final

from jelmore_protocol import OLDEST_PROTOCOL, PROTOCOL
from jelmore_protocol.control import Health, Init, OutputLimits, Phase, Stop
from jelmore_protocol.events import EventKind
from jelmore_protocol.frames import CloseCode, ErrorCode, HelloFrame
from jelmore_protocol.websocket_server import Client, CloseError, Item
from jelmore_runner import processes
from jelmore_runner.agents.base import AgentContext, AgentFactory, AgentRun, AgentsAhead, LiveAgent
from jelmore_runner.attachments import Attachments
from jelmore_runner.control_group import group_use
from jelmore_runner.conversation import Conversation
from jelmore_runner.draining import check_may_drain
from jelmore_runner.errors import RefusedError
from jelmore_runner.file_changes import FileChangeReporter
from jelmore_runner.git_activity import GitActivityReader
from jelmore_runner.git_positions import GitPositions
from jelmore_runner.hub import Hub, Subscriber
from jelmore_runner.init_check import check_init
from jelmore_runner.journal import Journal, Line
from jelmore_runner.journal_file import JournalFile, open_journal_file
from jelmore_runner.orphans import Orphan, Orphans, list_orphans, shown
from jelmore_runner.output_budget import budget_of
from jelmore_runner.pending_requests import within_bounds
from jelmore_runner.preparation import Preparation
from jelmore_runner.projection import Projection
from jelmore_runner.public_clients import PublicClients
from jelmore_runner.sandbox_ports import SandboxPorts
from jelmore_runner.settings import Settings
from jelmore_runner.setup_script import SetupScript
from jelmore_runner.snapshots import Snapshots
from jelmore_runner.supervisor import Supervisor
from jelmore_runner.terminals.environment import terminal_environment
from jelmore_runner.terminals.shell import Spawns
from jelmore_runner.terminals.table import Terminals
from jelmore_runner.transcripts import Transcripts
from jelmore_runner.watch import watch_workspace
from jelmore_runner.workspace_guard import GuardCallbacks, WorkspaceGuard
from jelmore_runner.workspace_helpers import Helpers

OPEN_DEADLINE_S: Final = 30.0
_DELTA: Final = '{"type":"delta"'


class Runner:
    """Owns all parts of the process. The control and the public API call its methods, on one event loop."""

    def __init__(
        self, settings: Settings, supervisor: Supervisor, make_agent: AgentFactory, ahead: AgentsAhead | None = None
    ) -> None:
        self.settings = settings
        self._make_agent = make_agent
        self.hub = Hub()
        self.init: Init | None = None
        self.phase = Phase.DORMANT
        self.public: set[Client] = set()
        self.public_clients = PublicClients()
        self.draining = False
        self.revoked: set[str] = set()  # subjects of revoked tokens
        self.token_epoch = 0  # tokens of an earlier epoch are revoked too
        self.finished = asyncio.Event()
        self.attachments = Attachments(settings.state / "attachments", settings.place)
        self.helpers = Helpers(settings)
        self.spawns = Spawns()
        self.ports = SandboxPorts(settings)
        self._terminals: Terminals | None = None
        self._setup: SetupScript | None = None
        self.transcripts = Transcripts(settings.state)
        self._supervisor = supervisor
        self.preparation = Preparation(settings, supervisor, self.helpers, ahead)
        self._began_at = time.monotonic()
        self._opened = asyncio.Event()
        self._started = asyncio.Event()  # set when the agent is ready, and when the run has ended
        self._journal: Journal | None = None
        self._projection = Projection()
        self._conversation: Conversation | None = None
        self._guard: WorkspaceGuard | None = None
        self._agent: AgentRun | None = None
        self.snapshots: Snapshots | None = None
        self._stop: Stop | None = None
        self._orphans = Orphans(list_orphans)
        self._reported_paused: frozenset[int] = frozenset()
        self._error: str | None = None
        self._exit_code: int | None = None

    # Start

    async def begin(self, init: Init) -> None:
        """Accept the only init of this run and start. Repeating its generation changes nothing. Raises RefusedError."""
        check_init(init)
        if self.init is not None:
            if (self.init.session_id, self.init.generation) != (init.session_id, init.generation):
                raise RefusedError(ErrorCode.CONFLICT, f"this runner serves generation {self.init.generation}")
            return
        if self.phase is Phase.ENDED:
            raise RefusedError(ErrorCode.ENDED, "this runner has been stopped")
        self.init = init
        self.token_epoch = max(self.token_epoch, init.token_epoch)
        self.phase = Phase.STARTING
        self.preparation.begin()
        self._supervisor.start("session", self._run(init), may_end=True)

    async def wait_started(self, within_s: float) -> None:
        """Return when the agent is ready or has ended, after `within_s` seconds at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._started.wait()

    async def _run(self, init: Init) -> None:
        """Open the journal, run the agent, and journal its end. Runs once."""
        opened = asyncio.to_thread(self._open_journal), asyncio.to_thread(self.transcripts.open, init)
        file, _ = await asyncio.gather(*opened)
        head = max(file.seqs[-1] if len(file.seqs) else 0, init.after)
        self._journal = journal = Journal(file, head, self._committed, budget=budget_of(file.size, init.output_limits))
        self._supervisor.start("journal", journal.run())
        self._conversation = conversation = Conversation(journal, self._projection, self.hub, self.attachments)
        conversation.budget_usd = init.options.max_budget_usd
        conversation.pause_at_usd = init.pause_at_usd
        conversation.permission_mode = init.options.permission_mode
        conversation.requests.answer_within_s = init.options.answer_within_s
        conversation.requests.permission_modes = init.options.permission_modes
        self.snapshots = Snapshots(self.settings, self.helpers, conversation, self._supervisor.start)
        conversation.recover(file.dropped_bytes)
        folders = (self.settings.workspace, self.settings.home, self.settings.state)
        end, below = self._end_descendants, partial(processes.descendants, os.getpid())
        callbacks = GuardCallbacks(self.interrupt, partial(end, processes.TERMINALS), partial(end, ()), below)
        self._guard = WorkspaceGuard(
            conversation, folders, init.workspace_limit_bytes, callbacks, init.workspace_limit_files
        )
        helper_failed = partial(conversation.error, "helper_failed")
        self._supervisor.start_helper("workspace guard", self._guard.run, helper_failed)
        ways_out = self.preparation.ways_out
        await self.preparation.let_out(init.gateway_token, lambda: conversation.trace)
        if init.first_input is not None and init.first_input.id not in self._projection.inputs:
            self._supervisor.start("first input", conversation.accept_first(init.first_input), may_end=True)
        environment = terminal_environment(self.settings, init, ways_out.egress_port)
        self._terminals = Terminals(self.settings, self.spawns, self._supervisor.start, environment)
        self._setup = SetupScript(self.settings, conversation, self.spawns, environment)
        files = FileChangeReporter(conversation, self.settings.workspace)
        git = GitActivityReader(self.settings.workspace, GitPositions(self.settings.state / "git-positions.json"))
        self._supervisor.start_helper(
            "workspace watch", partial(watch_workspace, conversation, files, git), helper_failed
        )
        if self._stop is None:
            await self._setup.run(init.setup, self._became_open)
        resume = init.resume or self._projection.handed_over
        ahead, ports = await self.preparation.agent_for(init, file), (ways_out.gateway_port, ways_out.egress_port)
        parts = (self.settings, init, conversation, files, ports[0], resume, self._became_ready, self.transcripts)
        self._agent = agent = self._make_agent(AgentContext(*parts, egress_port=ports[1], ahead=ahead))
        if self._stop is not None:
            agent.stop(self._stop)
        self._opened.set()
        exited = await agent.run()
        await self._terminals.end()
        await journal.durable(conversation.agent_exited(exited.cause, exited.data))
        self._error, self._exit_code = exited.error, exited.exit_code
        self._end()

    def _open_journal(self) -> JournalFile:
        path = self.settings.state / "journal.jsonl"
        projection = self._projection
        return open_journal_file(path, lambda event: projection.apply(event["kind"], event["seq"], event["data"]))

    def _committed(self, lines: list[Line]) -> None:
        for line in lines:
            self._projection.apply(line.kind, line.seq, line.data)
        self.hub.wake()

    def _became_open(self) -> None:
        """Let clients in while the setup runs: they see its output, and may interrupt it."""
        self._opened.set()
        self._became_ready()

    def _became_ready(self) -> None:
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY
            self._started.set()

    def _end(self) -> None:
        self.phase = Phase.ENDED
        self.finished.set()
        self._opened.set()
        self._started.set()
        self.hub.wake()
        self.transcripts.notify()

    # Requests from the control and the public API

    def stop(self, stop: Stop) -> None:
        """End the agent gracefully. Returns at once. A second stop changes nothing."""
        if self._stop is not None or self.phase is Phase.ENDED:
            return
        self._stop = stop
        if self.phase is Phase.DORMANT:
            self._error = stop.reason
            self.preparation.close()
            self._supervisor.start("agent ahead end", self.preparation.end(), may_end=True)
            self._end()
            return
        if self._setup is not None:
            self._setup.end("stopped")
        if self._agent is not None:
            self._agent.stop(stop)

    def set_draining(self, on: bool) -> None:
        """Start or end draining: disconnect public clients and accept none. Raises RefusedError while there is work."""
        working, idle = self._orphans.scan(self.agent_pid) if on else ([], [])
        if on:
            turn = self._conversation.turn if self._conversation is not None else None
            typing = self._terminals.in_use() if self._terminals is not None else 0
            check_may_drain(turn, self.phase, working, terminals=typing, ports=self.ports.in_use())
        self.draining = on
        if on:
            self._report_paused(idle)
            for client in self.public:
                client.end(CloseCode.GOING_AWAY)

    def revoke(self, subjects: Iterable[str], token_epoch: int = 0) -> None:
        """Close the public connections of these subjects, and those with a token of an earlier epoch.

        Their tokens are refused from now on. May run twice.
        """
        self.revoked.update(subjects)
        self.token_epoch = max(self.token_epoch, token_epoch)
        for client in self.public:
            if client.admission.subject in self.revoked or client.admission.token_epoch < self.token_epoch:
                client.end(CloseCode.UNAUTHENTICATED)

    def _report_paused(self, idle: list[Orphan]) -> None:
        """Journal once which processes are paused with the session, so that clients do not wait for them."""
        pids = frozenset(orphan.pid for orphan in idle)
        if self._conversation is not None and pids - self._reported_paused:
            self._conversation.note(EventKind.PROCESSES_PAUSED, shown(idle))
        self._reported_paused = pids

    async def interrupt(self) -> None:
        """Stop the running turn, or the setup. Does nothing when neither is running. Raises RefusedError."""
        if self._setup is not None and self._setup.running:
            self._setup.end("interrupted")
        elif self._agent is not None and self._agent.live is not None:
            await self._agent.live.interrupt()

    def set_workspace_limit(self, limit_bytes: int) -> None:
        """Change the limit of the session's volume. Raises RefusedError before the session is open."""
        if self._guard is None:
            raise RefusedError(ErrorCode.UNAVAILABLE, "there is no session yet")
        self._guard.set_limit(limit_bytes)

    def set_output_limits(self, limits: OutputLimits) -> None:
        """Change the limits of the session's output. Raises RefusedError before the session is open."""
        if self._journal is None:
            raise RefusedError(ErrorCode.UNAVAILABLE, "there is no session yet")
        self._journal.limit_output(limits)

    def _end_descendants(self, without: Iterable[int]) -> int:
        """Kill all descendants except Claude Code, `without` and what is below those; return how many."""
        pids = [pid for pid in processes.descendants(os.getpid(), without) if pid != self.agent_pid]
        processes.send(signal.SIGKILL, pids)
        return len(pids)

    @property
    def agent_pid(self) -> int | None:
        """Claude Code's pid while it runs, also ahead of the session, else None."""
        if self._agent is not None and self._agent.pid is not None:
            return self._agent.pid
        return self.preparation.pid

    def live_agent(self) -> LiveAgent:
        """Return the running agent. Raises RefusedError while there is none."""
        if self.phase is Phase.ENDED:
            raise RefusedError(ErrorCode.ENDED, "the session has ended")
        if self._agent is None or self._agent.live is None:
            raise RefusedError(ErrorCode.UNAVAILABLE, "Claude Code is not running yet")
        return self._agent.live

    def live_conversation(self) -> Conversation:
        """Return the conversation. Raises RefusedError before the journal is open."""
        if self._conversation is None:
            raise RefusedError(ErrorCode.UNAVAILABLE, "there is no session yet")
        return self._conversation

    async def opened_terminals(self) -> Terminals:
        """Return the terminals once the journal is read. Raises RefusedError before and after the session."""
        await self.opened_conversation()
        if self._terminals is None or self.phase is Phase.ENDED:
            raise RefusedError(ErrorCode.ENDED, "the session has ended")
        return self._terminals

    async def opened_conversation(self) -> Conversation:
        """Return the conversation once its journal is read. Raises RefusedError without an init or after a timeout."""
        if self.init is not None:
            await self._wait_opened()
        return self.live_conversation()

    async def stream(self, client: Client, *, default: int | None) -> AsyncGenerator[Item]:
        """Yield `hello`, then deltas and every event after `client.after`, else after `default`, else from now on.

        Raises CloseError when there is no journal, and at the end of the run after the last event.
        """
        if self.init is not None:
            with suppress(RefusedError):
                await self._wait_opened()
        if self._journal is None or self.init is None:
            raise CloseError(CloseCode.TRY_LATER)
        asked = client.after if client.after is not None else default
        resume, cursor = self._journal.resume_position(self._journal.head if asked is None else asked)
        subscriber = Subscriber(self._journal, cursor)
        yield Item(self._hello(self.init, self._journal, resume).model_dump_json())
        self.hub.add(subscriber)
        try:
            while True:
                subscriber.wake.clear()
                subscriber.wants_deltas = client.wants_deltas
                final = self.close_code()  # checked before reading, so that all events before the end are sent
                texts = await subscriber.next()
                for text in texts:
                    yield Item(text, text.startswith(_DELTA))
                if texts:
                    continue
                if final is not None and subscriber.caught_up:
                    raise CloseError(final)
                await subscriber.wake.wait()
        finally:
            self.hub.remove(subscriber)

    def _hello(self, init: Init, journal: Journal, resume: str) -> HelloFrame:
        ended = self.phase is Phase.ENDED
        return HelloFrame(
            protocol=PROTOCOL,
            oldest_protocol=OLDEST_PROTOCOL,
            session_id=init.session_id,
            resume=resume,
            seq=journal.head,
            state="ended" if ended else self._projection.state,
            waiting_for=None if ended else self._projection.waiting_for,
            pending=within_bounds(self._projection.pending.values()),
        )

    def close_code(self) -> CloseCode | None:
        """Return the close code for streams that have sent everything; None while more events may follow."""
        if self.phase is not Phase.ENDED:
            return None
        return CloseCode.ENDED if self._stop is None or self._stop.final else CloseCode.GOING_AWAY

    def health(self) -> Health:
        """Return the health report for the manager."""
        journal, conversation, guard = self._journal, self._conversation, self._guard
        live = self.init is not None and self.phase is not Phase.ENDED
        return Health(
            protocol=PROTOCOL,
            oldest_protocol=OLDEST_PROTOCOL,
            phase=self.phase,
            session_id=self.init.session_id if self.init else None,
            generation=self.init.generation if self.init else 0,
            seq=journal.head if journal else (self.init.after if self.init else 0),
            state=self._projection.state if live else None,
            waiting_for=self._projection.waiting_for if live else None,
            pending=within_bounds(self._projection.pending.values()),
            queued_inputs=conversation.queued if conversation else 0,
            quiet=self.draining,
            stopping=self._stop is not None,
            background=self._background(),
            agent_pid=self.agent_pid,
            agent_ahead=self.preparation.state,
            agent_exit_code=self._exit_code,
            error=self._error or (journal.error if journal else None),
            uptime_s=round(time.monotonic() - self._began_at, 3),
            rss_bytes=processes.own_rss_bytes(),
            subscribers=len(self.hub),
            **asdict(group_use()),
            **(asdict(guard.open_files) if guard else {}),
            workspace_bytes=guard.used.bytes if guard and guard.used else None,
            workspace_limit_bytes=guard.limit_bytes if guard else None,
            output_limits=journal.budget.limits if journal else None,
        )

    def _background(self) -> int:
        """Return how many tasks, processes, terminals and ports keep the session awake."""
        tasks = self._conversation.turn.background if self._conversation else 0
        terminals = self._terminals.in_use() if self._terminals else 0
        return tasks + terminals + self.ports.in_use() + len(self._orphans.scan(self.agent_pid)[0])

    async def _wait_opened(self) -> None:
        try:
            async with asyncio.timeout(OPEN_DEADLINE_S):
                await self._opened.wait()
        except TimeoutError:
            raise RefusedError(ErrorCode.UNAVAILABLE, "the journal is still being read") from None
