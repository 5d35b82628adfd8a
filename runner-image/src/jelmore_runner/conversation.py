"""Owns the state of a running session: turns inputs, answers and the agent's reports into journal entries.

Each decision is made without an await and journaled as one batch. After a crash at any point, the next run can read
from the journal which inputs were accepted, which were started and which never began.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jelmore_protocol.content import Block
from jelmore_protocol.control import CancelInput, ChangeInput, InputRequest, QueuedInput
from jelmore_protocol.events import EventKind, WaitingFor
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.rewinding import RewindRequest
from jelmore_runner.attachments import Attachments
from jelmore_runner.errors import RefusedError
from jelmore_runner.hub import Hub
from jelmore_runner.input_queue import InputQueue, check_input, input_entry
from jelmore_runner.journal import Entry, Journal
from jelmore_runner.neutral_facts import NeutralFact, entry_of
from jelmore_runner.open_requests import OpenRequests
from jelmore_runner.pending_requests import resolved
from jelmore_runner.projection import Projection
from jelmore_runner.prompter import Prompter
from jelmore_runner.result_deadline import ResultDeadline
from jelmore_runner.spending import saves_total
from jelmore_runner.state import (
    AgentGone,
    AgentReported,
    AgentStarted,
    BackgroundChanged,
    BudgetChanged,
    Fact,
    HandedOver,
    InputAccepted,
    InputCancelled,
    OtherTurnEnded,
    Turn,
    TurnBegan,
    TurnEnded,
)
from jelmore_runner.state import View as StateView
from jelmore_runner.traced_turn import TracedTurn
from jelmore_runner.turn_result import BUDGET_USED_UP, TurnResult, budget_error, budget_used_up, turn_ended


class Conversation:
    """State of a running session. Use it from one event loop only."""

    def __init__(self, journal: Journal, projection: Projection, hub: Hub, attachments: Attachments) -> None:
        self.journal = journal
        self.projection = projection
        self.hub = hub
        self.attachments = attachments
        self.turn = Turn(queued=len(projection.queued))
        self.ended = False
        self.refusal: str | None = None  # why inputs are refused for now: the workspace is far above its limit
        self.on_turn_end: Callable[[], None] = lambda: None
        self.before_turn: Callable[[int], Awaitable[None]] | None = None  # called with the seq of the input
        self.before_tool: Callable[[], Awaitable[None]] | None = None  # returns when a tool may change files
        self.budget_usd: float | None = None
        self.permission_mode: str | None = None  # the current mode of Claude Code
        self.spending = projection.spending.copy()
        self.conversation_id: str | None = None  # the agent's own id of the conversation
        self.pause_at_usd: float | None = None  # the spending from which inputs wait for a budget; None: never
        self._queue = InputQueue(projection.queued.values())
        self._accepted = dict(projection.inputs)
        self.requests = OpenRequests(journal, dict(projection.resolved), self.record_fact)
        self._prompter: Prompter | None = None
        self._shown = StateView(projection.state, projection.waiting_for, projection.running)
        self._result_deadline = ResultDeadline(self._give_up_on)
        self._traced = TracedTurn()
        self._rewinding = False

    @property
    def queued(self) -> int:
        """How many inputs wait."""
        return len(self._queue)

    @property
    def trace(self) -> str:
        """The `traceparent` of the running turn; empty without one, or when its input belongs to no trace."""
        return self._traced.context_of(self.turn.running)

    def recover(self, dropped_bytes: int) -> None:
        """Journal the end of what an earlier run left open: its running input is interrupted, its requests cancelled.

        Queued inputs stay queued. Called once, before the agent starts.
        """
        entries: list[Entry] = []
        if dropped_bytes:
            message = f"{dropped_bytes} bytes at the end of the journal were unreadable and have been dropped"
            entries.append((EventKind.ERROR, {"code": "journal_truncated", "message": message}))
        entries += [resolved(request_id, "cancelled", "") for request_id in self.projection.pending]
        self.requests.resolved |= dict.fromkeys(self.projection.pending, "")
        if self.projection.running is not None:
            entries.append(self._interrupted(self.projection.running, "restart"))
        if not self.projection.exited:  # the process was killed with the runner
            self.spending.process_ended(saved=False)
        self._record(*entries, always_state=self.projection.exited)

    # Inputs

    async def accept_first(self, request: InputRequest) -> None:
        """Accept the prompt of an init, or journal why it is refused."""
        try:
            await self.accept(request)
        except RefusedError as error:
            self.error("first_input_refused", str(error))

    async def accept(self, request: InputRequest) -> int:
        """Queue a prompt and return the seq of its event once that is durable. Repeating an id changes nothing.

        Raises RefusedError. After `unavailable`, the input may still be recorded: retry with the same id.
        """
        seq = self._accepted.get(request.id)
        if seq is None:
            self._check(request)
            if request.content is not None:
                request = await self._keep_attachments(request, request.content)
            seq = self._accepted.get(request.id) or self._enqueue(request)  # it may have come twice meanwhile
        await self.journal.settled(seq)
        return seq

    async def _keep_attachments(self, request: InputRequest, content: list[Block]) -> InputRequest:
        try:
            kept = await asyncio.to_thread(self.attachments.keep, content)
        except OSError as error:
            raise RefusedError(ErrorCode.UNAVAILABLE, f"an attachment cannot be stored: {error.strerror}") from None
        self._check(request)
        return request.model_copy(update={"content": kept})

    def _check(self, request: InputRequest, *, is_new: bool = True) -> None:
        check_input(request, self.journal, ended=self.ended, refusal=self.refusal)
        if is_new:
            self._queue.check_capacity()

    def _enqueue(self, request: InputRequest) -> int:
        self._queue.add(request)
        self.turn = self.turn.after(InputAccepted())
        seqs = self._record(input_entry(request))
        self._accepted[request.id] = seqs[0]
        return seqs[0]

    def waiting_inputs(self) -> list[QueuedInput]:
        """Return the inputs that wait for the agent, in order."""
        return self._queue.listed(self._accepted)

    async def change_input(self, change: ChangeInput) -> int:
        """Give a waiting input another text; return the event's seq once durable. Raises RefusedError."""
        self._check(InputRequest(id=change.id, input=change.input), is_new=False)
        self._queue.change(change, self._accepted)
        return await self._recorded((EventKind.INPUT_CHANGED, change.model_dump()))

    async def cancel_input(self, cancel: CancelInput) -> int:
        """Remove a waiting input; return the event's seq once durable. Raises RefusedError."""
        self._queue.cancel(cancel.id, self._accepted)
        self.turn = self.turn.after(InputCancelled())
        return await self._recorded((EventKind.INPUT_CANCELLED, cancel.model_dump()))

    async def _recorded(self, entry: Entry) -> int:
        seq = self._record(entry)[0]
        await self.journal.settled(seq)
        return seq

    async def turn_begins(self, input_id: str) -> None:
        """Call before an input that was handed over is written to the agent. Raises nothing."""
        if self.before_turn is not None and (seq := self._accepted.get(input_id)) is not None:
            await self.before_turn(seq)

    # Rewinding

    def check_rewind(self, wanted: RewindRequest) -> int | None:
        """Return the seq of the newest rewind if it was the same and no input came after it, else None.

        Raises RefusedError when the session cannot be taken back now, or has no such input.
        """
        view = self.turn.view
        if self.ended:
            raise RefusedError(ErrorCode.ENDED, "the session has ended")
        if self._rewinding:
            raise RefusedError(ErrorCode.CONFLICT, "the session is being taken back already")
        if self._queue:
            raise RefusedError(ErrorCode.CONFLICT, f"{len(self._queue)} inputs wait; cancel them first")
        if view.waiting_for not in {WaitingFor.PROMPT, WaitingFor.BUDGET}:
            raise RefusedError(ErrorCode.CONFLICT, "a turn runs or an answer is awaited; interrupt it first")
        if self.projection.rewound is not None:
            seq, data = self.projection.rewound
            same = ("to_seq", "input_id", "files", "conversation")
            if all(data.get(name) == getattr(wanted, name) for name in same):
                return seq
        return None

    @contextmanager
    def rewinding(self) -> Iterator[None]:
        """Let inputs wait during the block; the agent gets them afterwards."""
        self._rewinding = True
        try:
            yield
        finally:
            self._rewinding = False
            self._record()

    async def rewound(self, wanted: RewindRequest) -> int:
        """Journal that the session was taken back; return the event's seq once durable. Raises RefusedError."""
        return await self._recorded((EventKind.REWOUND, wanted.model_dump()))

    # Start and end of the agent

    def agent_started(self, prompter: Prompter) -> None:
        """Give Claude Code, which is ready now, the oldest queued input."""
        self._prompter = prompter
        self.turn = self.turn.after(AgentStarted())
        self._record()

    def agent_stopping(self) -> None:
        """Give the agent no more inputs."""
        self._prompter = None

    def agent_gone(self, cause: str, exit_code: int | None, *also: Entry) -> None:
        """Journal the end of the requests and the turn of the ended process, and `also` in the same batch."""
        self._prompter = None
        self.spending.process_ended(saved=saves_total(exit_code))
        entries: list[Entry] = self.requests.withdraw_all()
        if self.turn.running is not None:
            entries.append(self._interrupted(self.turn.running, cause))
        self.turn = self.turn.after(AgentGone())
        self._record(*entries, *also)
        self.on_turn_end()

    def agent_exited(self, cause: str, exited: Mapping[str, Any]) -> int:
        """Journal the end of this run as the last event and return its seq."""
        self.ended = True
        self.agent_gone(cause, exited.get("exit_code"))
        return self.journal.put((EventKind.EXITED, exited))[0]

    def conversation_lost(self, conversation_id: str, reason: str) -> None:
        """Journal that the agent started a fresh conversation because the previous one cannot be resumed."""
        self.spending.conversation_started()
        entries: list[Entry] = []
        if not self.projection.answered and conversation_id == self.projection.conversation_id:
            return  # the agent ended before it wrote anything, so nothing is lost
        if self.projection.answered:
            message = f"the conversation cannot be resumed: {reason}; a fresh one has been started, files are kept"
            entries.append((EventKind.ERROR, {"code": "conversation_lost", "message": message}))
        started = {"conversation_id": conversation_id, "reason": reason}
        self._record((EventKind.CONVERSATION_STARTED, started), *entries)

    def conversation_rewound(self, conversation_id: str) -> None:
        """Journal that the agent starts a fresh conversation, because nothing of the previous one is left."""
        self.conversation_id = conversation_id
        self.spending.conversation_started()
        self._record((EventKind.CONVERSATION_STARTED, {"conversation_id": conversation_id, "reason": "rewound"}))

    def conversation_compacted(self, trigger: str, before_tokens: int | None) -> None:
        """Journal that the agent continues with a summary of the conversation."""
        about = {"trigger": trigger, "before_tokens": before_tokens, "input_id": self.turn.message_input}
        self._record((EventKind.CONVERSATION_COMPACTED, about))

    def conversation_is(self, conversation_id: object) -> None:
        """Note the agent's id of the conversation. Another one than before means that it was cleared."""
        if not isinstance(conversation_id, str) or conversation_id == self.conversation_id:
            return
        known, self.conversation_id = self.conversation_id, conversation_id
        if known is not None:  # the next process resumes the new one, whose totals begin at zero
            self.spending.conversation_started()
            self._record((EventKind.CONVERSATION_STARTED, {"conversation_id": conversation_id, "reason": "cleared"}))

    def set_budget(self, pause_at_usd: float | None) -> None:
        """Let inputs wait from this spending on; None never. Inputs that waited go to the agent when it is raised."""
        self.pause_at_usd = pause_at_usd
        self._record()

    def permission_mode_is(self, mode: object) -> None:
        """Journal Claude Code's permission mode if it has changed."""
        if isinstance(mode, str) and mode != self.permission_mode:
            self.permission_mode = mode
            self._record((EventKind.PERMISSION_MODE_CHANGED, {"mode": mode}))

    def error(self, code: str, message: str) -> None:
        """Journal an `error` event."""
        self._record((EventKind.ERROR, {"code": code, "message": message}))

    def note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Journal an observation (files, directories, git).

        Dropped if the disk is behind, the session has ended, or its total of output is used up.
        """
        if self.journal.has_room and not self.ended and not self.journal.leaves_out(kind):
            self._record((kind, data))

    def turn_began(self, *, names_running: bool) -> None:
        """Record that a turn has started, and whether it is known to be the turn of the running input."""
        if names_running:
            self._result_deadline.stop()
        self.turn = self.turn.after(TurnBegan(names_running))

    def delta(self, make_frame: Callable[[str | None], str]) -> None:
        """Send a delta to the subscribers, if any. `make_frame` gets the id of the input that it belongs to."""
        if len(self.hub):
            self.hub.delta(self.journal.last, make_frame(self.turn.message_input))

    def said(self, message: dict[str, Any], *facts: NeutralFact, parent: object = None) -> None:
        """Journal a message in the agent's own format, and the neutral facts that are all of its content.

        `parent` is the tool use that started the sub-agent, if the message is of one.
        """
        input_id = self.turn.message_input
        raw = {"message": message, "input_id": input_id, "neutral": True}
        self._record((EventKind.MESSAGE, raw), *(entry_of(fact, input_id, parent) for fact in facts))

    def turn_result(self, message: dict[str, Any], result: TurnResult) -> None:
        """Journal the end of a turn, in the agent's own format and in the neutral one, and end its input.

        Turns without an input have results too: a background task that ends makes the agent continue. Such a result
        may arrive after a prompt was written and before its turn begins. So a result ends the running input only if
        the turn is known to be the turn of that input.
        """
        input_id = self.turn.message_input
        self.turn = self.turn.after(TurnEnded() if input_id is not None else OtherTurnEnded())
        self._record(*self._turn_ended(message, result, input_id))
        self.on_turn_end()

    def background_changed(self, tasks: int) -> None:
        """Record how many background tasks the agent runs."""
        self.turn = self.turn.after(BackgroundChanged(tasks))

    def agent_reported(self, *, busy: bool) -> None:
        """Record whether the agent is busy. An idle agent has a deadline to report the result of a running input."""
        self._result_deadline.stop()
        if not busy and self.turn.running is not None:
            self._result_deadline.start(self.turn.running)
        self.turn = self.turn.after(AgentReported(busy))
        self._record()

    def _turn_ended(self, message: dict[str, Any], result: TurnResult, input_id: str | None) -> list[Entry]:
        spent = self.spending.report(result.process_cost_usd, result.process_models)
        raw = {"message": message, "turn_ended": True, "input_id": input_id}
        ended = {**turn_ended(result, input_id, spent, self.spending), **self._traced.note_of(input_id)}
        return [(EventKind.MESSAGE, raw), (EventKind.TURN_ENDED, ended)]

    def _give_up_on(self, input_id: str) -> None:
        if self.turn.running == input_id and not self.turn.busy:
            self.turn = self.turn.after(TurnEnded())
            self._record(self._interrupted(input_id, "no_result"))
            self.on_turn_end()

    def record_fact(self, fact: Fact, entry: Entry) -> int:
        """Journal the entry of a fact and return its seq."""
        self.turn = self.turn.after(fact)
        return self._record(entry)[0]

    def _record(self, *entries: Entry, always_state: bool = False) -> list[int]:
        """Journal the entries, and the state if it changed, as one batch. Give a free agent the next input."""
        batch = [*entries, *self._end_unaffordable()]
        held = self.pause_at_usd is not None and self.spending.spent_usd >= self.pause_at_usd
        self.turn = self.turn.after(BudgetChanged(held))
        handed = self._hand_over()
        view = self.turn.view
        # The result already says that the turn has ended; that alone needs no `state` event.
        if always_state or view not in (self._shown, StateView(self._shown.state, self._shown.waiting_for, None)):
            state = {"state": view.state.value, "waiting_for": view.waiting_for, "input_id": view.input_id}
            batch.append((EventKind.STATE, state))
            self._shown = view
        seqs = self.journal.put(*batch) if batch else []
        if handed is not None and self._prompter is not None:
            self._prompter.prompt(handed, seqs[-1])
        return seqs

    def _end_unaffordable(self) -> list[Entry]:
        """If the budget is used up, end the inputs that the agent would get now, as Claude Code itself does."""
        entries: list[Entry] = []
        spent = self.budget_usd is not None and self.spending.spent_usd >= self.budget_usd
        while (
            spent and self._prompter is not None and not self._rewinding and self.turn.running is None and self._queue
        ):
            request = self._queue.take()
            self.turn = self.turn.after(HandedOver(request.id)).after(TurnEnded())
            budget_usd, total_usd = self.budget_usd or 0.0, self.spending.process_usd
            body, errors = budget_used_up(budget_usd, total_usd), (budget_error(budget_usd),)
            result = TurnResult(failed=True, subtype=BUDGET_USED_UP, errors=errors, process_cost_usd=total_usd)
            entries += self._turn_ended(body, result, request.id)
        return entries

    def _hand_over(self) -> InputRequest | None:
        waits = self._prompter is None or self._rewinding or self.turn.held
        if waits or self.turn.running is not None or not self._queue:
            return None
        request = self._queue.take()
        self._traced = TracedTurn(request.id, request.trace, time.time())
        self.turn = self.turn.after(HandedOver(request.id))
        return request

    def _interrupted(self, input_id: str, cause: str) -> Entry:
        seq = self._accepted.get(input_id)
        traced = self._traced.note_of(input_id)
        return EventKind.INTERRUPTED, {"input_id": input_id, "cause": cause, "input_seq": seq, **traced}
