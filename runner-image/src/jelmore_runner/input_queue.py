"""The inputs that wait for the agent, in order. They can be changed and cancelled until one is handed over. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.bounds import MAX_QUEUED_INPUTS
from jelmore_protocol.control import ChangeInput, InputRequest, QueuedInput
from jelmore_protocol.events import EventKind
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.listing import listed_texts
from jelmore_runner.errors import RefusedError
from jelmore_runner.journal import Entry, Journal


class InputQueue:
    """Waiting inputs by id, the oldest first."""

    def __init__(self, waiting: Iterable[InputRequest]) -> None:
        self._waiting = {request.id: request for request in waiting}

    def __len__(self) -> int:
        """Return how many inputs wait."""
        return len(self._waiting)

    def check_capacity(self) -> None:
        """Raise RefusedError when no further input is accepted."""
        if len(self._waiting) >= MAX_QUEUED_INPUTS:
            raise RefusedError(ErrorCode.QUEUE_FULL, f"{MAX_QUEUED_INPUTS} inputs are waiting already")

    def add(self, request: InputRequest) -> None:
        """Add an input at the end."""
        self._waiting[request.id] = request

    def take(self) -> InputRequest:
        """Remove the oldest input and return it. The queue must not be empty."""
        return self._waiting.pop(next(iter(self._waiting)))

    def change(self, change: ChangeInput, accepted: Mapping[str, int]) -> None:
        """Replace the text of a waiting input, which keeps its place. Raises RefusedError."""
        request = self._waiting_input(change.id, accepted)
        self._waiting[change.id] = request.model_copy(update={"input": change.input, "content": None})

    def cancel(self, input_id: str, accepted: Mapping[str, int]) -> None:
        """Remove a waiting input. Raises RefusedError."""
        self._waiting_input(input_id, accepted)
        del self._waiting[input_id]

    def listed(self, accepted: Mapping[str, int]) -> list[QueuedInput]:
        """Return the waiting inputs in order, with the seq of the event that accepted each. Bounded in bytes."""
        waiting = list(self._waiting.values())
        texts = listed_texts(each.input for each in waiting)
        return [
            QueuedInput(id=each.id, input=text, by=each.by, seq=accepted.get(each.id, 0))
            for each, text in zip(waiting, texts, strict=True)
        ]

    def _waiting_input(self, input_id: str, accepted: Mapping[str, int]) -> InputRequest:
        request = self._waiting.get(input_id)
        if request is None and input_id in accepted:
            raise RefusedError(ErrorCode.CONFLICT, "this input waits no longer: the agent has it, or it is cancelled")
        if request is None:
            raise RefusedError(ErrorCode.UNKNOWN_REQUEST, "there is no such input")
        return request


def check_input(request: InputRequest, journal: Journal, *, ended: bool, refusal: str | None) -> None:
    """Raise RefusedError when an input cannot be accepted now. `refusal` says why none is, if that is so."""
    if ended:
        raise RefusedError(ErrorCode.ENDED, "the session has ended")
    if not request.input.strip():
        raise RefusedError(ErrorCode.INPUT_EMPTY, "the input is empty")
    if len(request.input.encode("utf-8", "replace")) > MAX_INPUT_BYTES:
        raise RefusedError(ErrorCode.INPUT_TOO_LARGE, f"an input is at most {MAX_INPUT_BYTES} bytes")
    if refusal is not None:
        raise RefusedError(ErrorCode.WORKSPACE_FULL, refusal)
    if journal.error or not journal.has_room:
        raise RefusedError(ErrorCode.UNAVAILABLE, journal.error or "too much is waiting for the disk")


def input_entry(request: InputRequest) -> Entry:
    """Return the journal entry of an accepted input."""
    given: dict[str, Any] = {"id": request.id, "input": request.input, "by": request.by}
    if request.expand:
        given["expand"] = True
    if request.trace:
        given["trace"] = request.trace
    if request.content is not None:
        given["content"] = [block.model_dump(mode="json", exclude_none=True) for block in request.content]
    return EventKind.INPUT, given
