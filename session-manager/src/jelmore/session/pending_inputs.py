"""Inputs that a hibernated session has accepted, and that no runner has journaled yet. Pure.

They are part of the session's record, so each change of them is fenced by its version. Such an input leaves the record
in the transaction that stores the output which records it: until then it is here, from then on it is there.
"""

import json
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any, Final

MAX_PENDING_BYTES: Final = 64 * 1024
"""How large the pending inputs of a session may be together, as JSON: the record is written with each batch of output.

An input that does not fit is accepted by the runner, once it is awake.
"""


@dataclass(frozen=True, slots=True)
class PendingInput:
    """An accepted input. `by` is who sent it, `at` when, in UTC, and `after` the newest output at that time."""

    id: str
    input: str
    by: str
    at: str
    after: int
    expand: bool = False
    handed_over: bool = False  # a runner may have it: only the runner can change or cancel it
    refusal: str | None = None  # why the last runner did not take it; it is handed over again after the next wake


type PendingInputs = tuple[PendingInput, ...]


def added(pending: PendingInputs, new: PendingInput) -> PendingInputs | None:
    """Return the inputs with another one at the end; None when it does not fit. One that is there stays as it is."""
    if of_id(pending, new.id) is not None:
        return pending
    return _fitting((*pending, new))


def of_id(pending: PendingInputs, input_id: str) -> PendingInput | None:
    """Return the input with this id, None when there is none."""
    return next((each for each in pending if each.id == input_id), None)


def without(pending: PendingInputs, input_id: object) -> PendingInputs:
    """Return the inputs but the one with this id."""
    return tuple(each for each in pending if each.id != input_id)


def changed(pending: PendingInputs, input_id: str, text: str) -> PendingInputs | None:
    """Return the inputs with another text for one of them; None when it does not fit."""
    return _fitting(tuple(replace(each, input=text, refusal=None) if each.id == input_id else each for each in pending))


def due(pending: PendingInputs) -> PendingInputs:
    """Return the inputs that a runner should get: those before the first that was refused, as their order counts."""
    return tuple(takewhile(lambda each: each.refusal is None, pending))


def handed_over(pending: PendingInputs) -> PendingInputs:
    """Return the inputs as they are before a runner gets those that are due."""
    sent = due(pending)
    return (*(replace(each, handed_over=True) for each in sent), *pending[len(sent) :])


def refused(pending: PendingInputs, input_id: str, reason: str) -> PendingInputs:
    """Return the inputs after a runner has refused one: it has neither that one nor those behind it."""
    ids = [each.id for each in pending]
    behind = ids[ids.index(input_id) :] if input_id in ids else []
    left = (replace(each, handed_over=False) if each.id in behind else each for each in pending)
    return tuple(replace(each, refusal=reason) if each.id == input_id else each for each in left)


def retried(pending: PendingInputs) -> PendingInputs:
    """Return the inputs as they are when a refusal no longer counts."""
    return tuple(each if each.refusal is None else replace(each, refusal=None) for each in pending)


def _fitting(pending: PendingInputs) -> PendingInputs | None:
    return pending if len(json.dumps(as_json(pending))) <= MAX_PENDING_BYTES else None


def as_json(pending: PendingInputs) -> list[dict[str, Any]]:
    """Return the inputs as they are stored."""
    return [asdict(each) for each in pending]
