"""How the output of a session ends the turn of a prompt. No I/O."""

from typing import Final

from jelmore_client.models import Event, TurnResult

CANCELLED: Final = "cancelled"
"""The `subtype` of a prompt that was removed from the queue, by this client or another one: it never runs."""

_OUT_OF_TIME: Final = "no result within the given time; the turn continues"


def result_of(event: Event, input_id: str) -> TurnResult | None:
    """Return the result of the prompt's turn if `event` ends it, else None."""
    data = event.data
    if event.kind == "input_cancelled" and data.get("id") == input_id:
        return TurnResult(input_id=input_id, outcome="failed", subtype=CANCELLED)
    if data.get("input_id") != input_id:
        return None
    if event.kind == "turn_ended":
        return TurnResult.read(data)
    if event.kind == "interrupted":
        return TurnResult(input_id=input_id, outcome="failed", subtype=str(data.get("cause")))
    return None


def has_started(event: Event, input_id: str) -> bool:
    """Return whether `event` shows that the agent has the prompt: what it asks from now on is of this turn."""
    return event.kind != "input" and event.data.get("input_id") == input_id


def left_s(deadline: float | None, now: float) -> float | None:
    """Return the seconds until a deadline, None without one. Raises TimeoutError when it has passed."""
    if deadline is None:
        return None
    if now >= deadline:
        raise TimeoutError(_OUT_OF_TIME)
    return deadline - now
