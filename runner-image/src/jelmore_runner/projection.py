"""Derives the current state from the events of a journal. Pure: loading and live use give the same result.

Takes only durable events, so that clients never see a state that a crash could undo.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from jelmore_protocol.control import InputRequest
from jelmore_protocol.events import AgentState, EventKind, Pending, WaitingFor
from jelmore_runner.spending import Spending, models_of, saves_total


@dataclass(slots=True)
class Projection:
    """The public state, and what a new run must close or continue."""

    state: AgentState = AgentState.WAITING_INPUT
    waiting_for: WaitingFor | None = WaitingFor.PROMPT
    running: str | None = None  # given to the agent, not ended yet
    inputs: dict[str, int] = field(default_factory=dict)  # all accepted inputs, with their seq
    queued: dict[str, InputRequest] = field(default_factory=dict)  # accepted, not given to the agent yet, in order
    pending: dict[str, Pending] = field(default_factory=dict)  # requests without an answer
    resolved: dict[str, str] = field(default_factory=dict)  # answered (by whom) or withdrawn (""): not answered again
    spending: Spending = field(default_factory=Spending)
    conversation_id: str | None = None  # Claude Code's id, if it differs from the session's
    answered: bool = False  # the conversation has an answer that would be lost with it
    rewound: tuple[int, Mapping[str, Any]] | None = None  # the newest event `rewound` with its seq, before any input
    handed_over: bool = False  # there is a conversation to resume
    exited: bool = False
    setup: EventKind | None = None  # the newest of `setup_started` and `setup_ended`: it never runs again

    def apply(self, kind: str, seq: int, data: Mapping[str, Any]) -> None:
        """Apply one event. Ignores unknown kinds and fields."""
        match kind:
            case EventKind.INPUT:
                self._accepted(seq, data)
            case EventKind.INPUT_CHANGED if data.get("id") in self.queued:
                changed = {"input": str(data.get("input")), "content": None}
                self.queued[data["id"]] = self.queued[data["id"]].model_copy(update=changed)
            case EventKind.INPUT_CANCELLED:
                self.queued.pop(str(data.get("id")), None)
            case EventKind.STATE:
                self._stated(data)
            case EventKind.MESSAGE:
                self._message(data)
            case EventKind.TURN_ENDED:
                self.spending.report(data.get("process_cost_usd"), models_of(data.get("process_models")))
                self._ended(data.get("input_id"))
            case EventKind.INTERRUPTED:
                self._ended(data.get("input_id"))
            case EventKind.PERMISSION_REQUESTED | EventKind.QUESTION:
                self._asked(data)
            case EventKind.PERMISSION_RESOLVED:
                self.pending.pop(str(data.get("request_id")), None)
                self.resolved[str(data.get("request_id"))] = str(data.get("by") or "")
            case EventKind.SAID | EventKind.TOOL_USED:
                self.answered = self.answered or data.get("role", "assistant") == "assistant"
            case EventKind.CONVERSATION_STARTED:
                self._conversation_started(data)
            case EventKind.REWOUND | EventKind.SETUP_STARTED | EventKind.SETUP_ENDED:
                self._marked(EventKind(kind), seq, data)
            case EventKind.CONVERSATION_RESTORED:
                self.spending.conversation_started()
            case EventKind.ERROR | EventKind.EXITED:
                self._process_ended(kind, data)
            case _:
                pass

    def _marked(self, kind: EventKind, seq: int, data: Mapping[str, Any]) -> None:
        if kind is EventKind.REWOUND:
            self.rewound = seq, data
        else:
            self.setup = kind

    def _process_ended(self, kind: str, data: Mapping[str, Any]) -> None:
        self.exited = self.exited or kind == EventKind.EXITED
        if kind == EventKind.EXITED or data.get("code") == "agent_died":
            self.spending.process_ended(saved=saves_total(data.get("exit_code")))

    def _accepted(self, seq: int, data: Mapping[str, Any]) -> None:
        try:
            request = InputRequest.model_validate(dict(data))
        except ValidationError:
            return
        self.inputs[request.id] = seq
        self.rewound = None
        self.queued[request.id] = request

    def _message(self, data: Mapping[str, Any]) -> None:
        """Read a message of an older runner, which journaled no neutral facts about it."""
        message = data.get("message")
        if not isinstance(message, Mapping) or data.get("neutral"):
            return
        if message.get("type") == "result":
            self.spending.report(message.get("total_cost_usd"))
            self._ended(data.get("input_id"))
        self.answered = self.answered or message.get("type") == "assistant"

    def _conversation_started(self, data: Mapping[str, Any]) -> None:
        try:
            self.conversation_id = str(UUID(str(data.get("conversation_id"))))
        except ValueError:
            return
        self.spending.conversation_started()
        self.answered = False

    def _stated(self, data: Mapping[str, Any]) -> None:
        self.exited = False
        try:
            self.state = AgentState(data.get("state", self.state))
            self.waiting_for = WaitingFor(data["waiting_for"]) if data.get("waiting_for") else None
        except ValueError:
            return  # a state of a newer runner
        input_id = data.get("input_id")
        if input_id is not None:
            self.handed_over = True
            # Only the first state event with this id starts the input; later ones repeat the id.
            if self.queued.pop(input_id, None) is not None:
                self.running = input_id

    def _ended(self, input_id: object) -> None:
        if input_id is None:
            return
        self.queued.pop(str(input_id), None)
        if self.running == input_id:
            self.running = None

    def _asked(self, data: Mapping[str, Any]) -> None:
        try:
            pending = Pending.model_validate(dict(data))
        except ValidationError:
            return
        self.pending[pending.request_id] = pending
