"""`Runners` in memory: one scripted runner per address, with a journal and the runner's own refusals."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from jelmore.ports import BrokenOutputError, ControlAddress, Delta, RelayBreak
from jelmore.session.errors import (
    AlreadyAnsweredError,
    ConflictError,
    DependencyError,
    RefusedError,
    SessionEndedError,
    UnknownRequestError,
)
from jelmore.session.output import Output
from jelmore_protocol import OLDEST_PROTOCOL, PROTOCOL
from jelmore_protocol.control import (
    DEFAULT_OUTPUT_LIMITS,
    AgentAhead,
    AnswerWithin,
    Budget,
    CancelInput,
    Change,
    ChangeInput,
    Command,
    Commands,
    Draining,
    EgressAsk,
    EgressOutcome,
    Health,
    Init,
    InputAccepted,
    InputRequest,
    McpReconnect,
    McpServer,
    McpServers,
    McpToggle,
    OutputLimits,
    PermissionAnswer,
    Phase,
    Prepare,
    Queue,
    QueuedInput,
    Revoke,
    Stop,
    WorkspaceLimit,
)
from jelmore_protocol.events import AgentState, Event, EventKind, Pending, WaitingFor, utc_text
from jelmore_protocol.rewinding import RewindRequest

BATCH = 500


@dataclass
class FakeRunner:
    """One runner. Its callbacks (`say`, `become`, `ask`, `end`) journal what the real one would."""

    phase: Phase = Phase.DORMANT
    init: Init | None = None
    journal: list[Output] = field(default_factory=list)
    state: AgentState | None = None
    waiting_for: WaitingFor | None = None
    pending: dict[str, Pending] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    inputs: dict[str, int] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    interrupts: int = 0
    changes: list[tuple[str, object]] = field(default_factory=list)
    attachments: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    error: str | None = None
    ready_at_once: bool = True
    stopping: bool = False
    draining: bool = False
    refuses_drain: bool = False  # somebody types into a terminal
    revoked: set[str] = field(default_factory=set)
    token_epoch: int = 0
    ahead: AgentAhead | None = AgentAhead.NONE  # None: one of an earlier image, which starts no agent ahead
    prepared: Prepare | None = None
    connects: bool = True  # what is started ahead is connected at once
    is_strict: bool = False  # refuses fields that runners of version 1 do not know
    sizes: dict[str, int] = field(default_factory=dict)  # of Health: memory, processes, workspace
    workspace_limit_bytes: int | None = None
    output_limits: OutputLimits | None = DEFAULT_OUTPUT_LIMITS  # None: one of an earlier image
    too_old_to_ask: bool = False  # about connections: one of an earlier image
    holds: bool = False  # inputs wait instead of starting a turn
    waiting: dict[str, QueuedInput] = field(default_factory=dict)
    pause_at: list[float | None] = field(default_factory=list)  # the budgets that it was sent, in order
    deltas: list[str] = field(default_factory=list)
    broken: int = 0  # how often every relay was cut
    relays: int = 0  # how often one was started
    garbled: bool = False  # relays send something that is not a frame
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def seq(self) -> int:
        return self.journal[-1].seq if self.journal else (self.init.after if self.init else 0)

    @property
    def health(self) -> Health:
        return Health(
            protocol=PROTOCOL,
            oldest_protocol=None if self.is_strict else OLDEST_PROTOCOL,
            phase=self.phase,
            session_id=self.init.session_id if self.init else None,
            generation=self.init.generation if self.init else 0,
            seq=self.seq,
            state=self.state,
            waiting_for=self.waiting_for,
            pending=list(self.pending.values()),
            quiet=self.draining,
            stopping=self.stopping,
            agent_pid=4711 if self.phase is Phase.READY else None,
            agent_ahead=self.ahead,
            agent_exit_code=self.exit_code,
            error=self.error,
            output_limits=self.output_limits if self.init else None,
            **{"workspace_limit_bytes": self.workspace_limit_bytes, **self.sizes},
        )

    def waiting_input(self, input_id: str) -> QueuedInput:
        if input_id not in self.waiting:
            raise (
                ConflictError("it waits no longer") if input_id in self.inputs else UnknownRequestError("no such input")
            )
        return self.waiting[input_id]

    def take_ahead(self, init: Init) -> None:
        """Use what was started ahead, if it fits; the real one also takes what it can change."""
        if self.prepared is not None:
            fits = self.ahead is AgentAhead.CONNECTED and self.prepared.options == init.options
            self.ahead = AgentAhead.USED if fits else AgentAhead.DROPPED

    async def say(self, kind: EventKind, data: dict[str, Any]) -> int:
        """Journal one event and return its seq."""
        async with self.changed:
            at = self.now()
            event = {"type": "event", "seq": self.seq + 1, "kind": kind.value, "at": utc_text(at), "data": data}
            text = json.dumps(event, separators=(",", ":"))
            parsed = Event.model_validate_json(text)
            self.journal.append(Output(parsed.seq, kind.value, parsed.at, text))
            self.changed.notify_all()
        return self.seq

    async def hint(self, text: str) -> None:
        """Send a delta to whoever is attached."""
        async with self.changed:
            self.deltas.append(json.dumps({"type": "delta", "data": {"text": text}}))
            self.changed.notify_all()

    async def become(self, state: AgentState, waiting_for: WaitingFor | None = None) -> int:
        """Journal a change of the agent's state."""
        self.state, self.waiting_for = state, waiting_for
        return await self.say(EventKind.STATE, {"state": state.value, "waiting_for": waiting_for, "input_id": None})

    async def ask(self, pending: Pending) -> int:
        """Wait for a permission or an answer."""
        self.pending[pending.request_id] = pending
        question = pending.waiting_for is WaitingFor.QUESTION
        kind = EventKind.QUESTION if question else EventKind.PERMISSION_REQUESTED
        await self.say(kind, pending.model_dump(mode="json"))
        return await self.become(AgentState.WAITING_INPUT, WaitingFor(pending.waiting_for))

    async def end(self, exit_code: int, error: str | None = None) -> None:
        """Let the agent go."""
        data = {"exit_code": exit_code, "reason": error or "exited", "requested": bool(self.stops), "stderr": ""}
        await self.say(EventKind.EXITED, data)
        async with self.changed:
            self.phase, self.exit_code, self.error = Phase.ENDED, exit_code, error
            self.changed.notify_all()

    async def cut(self) -> None:
        """Break every relay."""
        async with self.changed:
            self.broken += 1
            self.changed.notify_all()


@dataclass
class FakeRunners:
    """Every runner there is, by address. An address without one does not answer."""

    runners: dict[ControlAddress, FakeRunner] = field(default_factory=dict)
    silent: set[ControlAddress] = field(default_factory=set)

    def add(self, at: ControlAddress) -> FakeRunner:
        """Put a dormant runner there."""
        return self.runners.setdefault(at, FakeRunner())

    async def health(self, at: ControlAddress) -> Health:
        return self._at(at).health

    async def prepare(self, at: ControlAddress, prepare: Prepare) -> Health:
        runner = self._at(at)
        if runner.ahead is None:
            raise UnknownRequestError("there is no such call")
        if runner.init is not None:
            raise ConflictError("the session is there")
        runner.prepared = prepare
        runner.ahead = AgentAhead.CONNECTED if runner.connects else AgentAhead.STARTING
        return runner.health

    async def init(self, at: ControlAddress, init: Init, *, ready_within_s: float = 0) -> Health:
        runner = self._at(at)
        if runner.init is not None:
            if runner.init.generation != init.generation:
                raise ConflictError("initialised with another generation")
            return runner.health
        runner.init, runner.phase = init, Phase.STARTING
        runner.take_ahead(init)
        runner.workspace_limit_bytes = init.workspace_limit_bytes
        runner.output_limits = init.output_limits or runner.output_limits
        if runner.ready_at_once:
            runner.phase = Phase.READY
            await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)
            if init.first_input is not None:
                await self.input(at, init.first_input)
        return runner.health

    async def input(self, at: ControlAddress, request: InputRequest) -> InputAccepted:
        runner = self._live(at)
        if request.id not in runner.inputs:
            seq = await runner.say(EventKind.INPUT, request.model_dump())
            runner.inputs[request.id] = seq
            if runner.holds:
                given = {"id": request.id, "input": request.input, "by": request.by}
                runner.waiting[request.id] = QueuedInput(**given, seq=seq)
                return InputAccepted(seq=seq)
            await runner.become(AgentState.ACTIVE)
        return InputAccepted(seq=runner.inputs[request.id])

    async def interrupt(self, at: ControlAddress) -> None:
        self._live(at).interrupts += 1

    async def answer(self, at: ControlAddress, request_id: str, answer: PermissionAnswer) -> InputAccepted:
        runner = self._live(at)
        if request_id in runner.answered:
            raise AlreadyAnsweredError("somebody else answered first")
        if request_id not in runner.pending:
            raise UnknownRequestError("there is no such request")
        runner.answered.add(request_id)
        del runner.pending[request_id]
        data = {"request_id": request_id, "decision": answer.decision, "by": answer.by}
        return InputAccepted(seq=await runner.say(EventKind.PERMISSION_RESOLVED, data))

    async def ask_egress(self, at: ControlAddress, asked: EgressAsk) -> InputAccepted:
        runner = self._live(at)
        if runner.too_old_to_ask:
            raise RefusedError("runner", "there is no POST /egress-requests")
        if asked.id in runner.answered:
            raise ConflictError("it was withdrawn or has expired")
        if asked.id not in runner.pending:
            target = asked.model_dump(include={"host", "port", "method"})
            pending = Pending(
                request_id=asked.id, waiting_for=WaitingFor.EGRESS, tool="Network", title=asked.host, input=target
            )
            await runner.ask(pending)
        return InputAccepted(seq=runner.seq)

    async def settle_egress(self, at: ControlAddress, request_id: str, outcome: EgressOutcome) -> InputAccepted:
        runner = self._live(at)
        if request_id in runner.answered:
            raise ConflictError("somebody else answered first")
        if request_id not in runner.pending:
            raise UnknownRequestError("there is no such request")
        runner.answered.add(request_id)
        del runner.pending[request_id]
        data = {"request_id": request_id, **outcome.model_dump()}
        await runner.say(EventKind.PERMISSION_RESOLVED, data)
        return InputAccepted(seq=await runner.become(AgentState.ACTIVE))

    async def set_model(self, at: ControlAddress, change: Change) -> None:
        self._live(at).changes.append(("model", change.value))

    async def set_permission_mode(self, at: ControlAddress, change: Change) -> None:
        self._live(at).changes.append(("permission_mode", change.value))

    async def set_effort(self, at: ControlAddress, change: Change) -> None:
        self._live(at).changes.append(("effort", change.value))

    async def set_answer_within(self, at: ControlAddress, within: AnswerWithin) -> None:
        self._live(at).changes.append(("answer_within", within.seconds))

    async def rewind(self, at: ControlAddress, wanted: RewindRequest) -> InputAccepted:
        runner = self._live(at)
        return InputAccepted(seq=await runner.say(EventKind.REWOUND, wanted.model_dump()))

    async def commands(self, at: ControlAddress) -> Commands:
        self._live(at)
        return Commands(commands=[Command(name="compact", description="make it short", argument_hint="[what]")])

    async def mcp_servers(self, at: ControlAddress) -> McpServers:
        self._live(at)
        return McpServers(servers=[McpServer(name="docs", status="connected", tools=["search"])])

    async def reconnect_mcp(self, at: ControlAddress, wanted: McpReconnect) -> None:
        self._live(at).changes.append(("mcp_reconnect", wanted.name))

    async def toggle_mcp(self, at: ControlAddress, wanted: McpToggle) -> None:
        self._live(at).changes.append(("mcp_toggle", f"{wanted.name} {wanted.enabled}"))

    async def attachment(self, at: ControlAddress, attachment_id: str) -> bytes:
        found = self._live(at).attachments.get(attachment_id)
        if found is None:
            raise UnknownRequestError(f"there is no attachment {attachment_id}")
        return found

    async def limit_workspace(self, at: ControlAddress, limit: WorkspaceLimit) -> None:
        self._live(at).workspace_limit_bytes = limit.bytes

    async def limit_output(self, at: ControlAddress, limits: OutputLimits) -> None:
        runner = self._live(at)
        if runner.output_limits is None:
            raise UnknownRequestError("there is no such call")
        runner.output_limits = limits

    async def queue(self, at: ControlAddress) -> Queue:
        return Queue(inputs=list(self._live(at).waiting.values()))

    async def change_input(self, at: ControlAddress, change: ChangeInput) -> InputAccepted:
        runner = self._live(at)
        waiting = runner.waiting_input(change.id)
        runner.waiting[change.id] = waiting.model_copy(update={"input": change.input})
        return InputAccepted(seq=await runner.say(EventKind.INPUT_CHANGED, change.model_dump()))

    async def cancel_input(self, at: ControlAddress, cancel: CancelInput) -> InputAccepted:
        runner = self._live(at)
        runner.waiting_input(cancel.id)
        del runner.waiting[cancel.id]
        return InputAccepted(seq=await runner.say(EventKind.INPUT_CANCELLED, cancel.model_dump()))

    async def budget(self, at: ControlAddress, budget: Budget) -> None:
        self._live(at).pause_at.append(budget.pause_at_usd)

    async def set_draining(self, at: ControlAddress, draining: Draining) -> None:
        runner = self._live(at)
        if draining.on and (runner.state is AgentState.ACTIVE or runner.refuses_drain):
            raise ConflictError("a turn runs")
        runner.draining = draining.on

    async def revoke(self, at: ControlAddress, revoke: Revoke) -> None:
        if self._at(at).is_strict and revoke.model_fields_set != {"subjects"}:
            raise RefusedError("runner", "token_epoch: extra inputs are not permitted")
        self._at(at).revoked.update(revoke.subjects)
        self._at(at).token_epoch = max(self._at(at).token_epoch, revoke.token_epoch)

    async def stop(self, at: ControlAddress, stop: Stop) -> None:
        runner = self._at(at)
        runner.stops.append(stop)
        if runner.phase is not Phase.ENDED:
            await runner.end(0)

    async def relay(self, at: ControlAddress, after: int) -> AsyncGenerator[list[Output] | Delta]:
        runner = self._at(at)
        broken, sent = runner.broken, len(runner.deltas)
        async with runner.changed:
            runner.relays += 1
            runner.changed.notify_all()
        if runner.garbled:
            raise DependencyError("runner", "the relay sent something that is not a frame")
        if runner.seq < after:
            raise BrokenOutputError(f"the runner is at {runner.seq}, but {after} is stored already")
        while True:
            batch = [output for output in runner.journal if output.seq > after][:BATCH]
            if batch:
                after = batch[-1].seq
                yield [replace(output) for output in batch]
                continue
            for text in runner.deltas[sent:]:
                sent += 1
                yield Delta(text)
            async with runner.changed:
                if runner.broken != broken or self.runners.get(at) is not runner:
                    raise RelayBreak("cut")
                if runner.seq <= after and len(runner.deltas) == sent:
                    if runner.phase is Phase.ENDED:
                        raise RelayBreak("the runner has ended")
                    await runner.changed.wait()

    async def close(self) -> None:
        """Nothing to release."""

    def _at(self, at: ControlAddress) -> FakeRunner:
        if at not in self.runners or at in self.silent:
            raise DependencyError("runner", "no answer")
        return self.runners[at]

    def _live(self, at: ControlAddress) -> FakeRunner:
        runner = self._at(at)
        if runner.phase is Phase.ENDED:
            raise SessionEndedError("of the fake")
        if runner.phase is Phase.DORMANT:
            raise ConflictError("not initialised")
        return runner
