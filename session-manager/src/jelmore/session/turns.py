"""Which turns of a session had ended at a point of its output. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

KINDS: Final = ("input", "input_cancelled", "turn_ended", "interrupted")


@dataclass(frozen=True, slots=True)
class Turns:
    """Ids of inputs, in the order in which they were accepted."""

    kept: tuple[str, ...]  # their turns had ended
    dropped: tuple[str, ...]  # their turns ended later, run or wait
    next_seq: int | None = None  # the input whose turn began first after that point; None: nothing has run since


def turns_up_to(outputs: Iterable[tuple[int, str, Mapping[str, Any]]], at_seq: int) -> Turns:
    """Divide the inputs among `outputs` (seq, kind, data) of the kinds `KINDS`.

    Of the inputs that are not kept, `next_seq` is the one that ended first, else the first that was not cancelled: it
    runs now, or waits and nothing runs.
    """
    inputs: dict[str, int] = {}
    ended: set[str] = set()
    later: list[str] = []
    cancelled: set[str] = set()
    for seq, kind, data in outputs:
        if kind == "input":
            inputs[str(data.get("id"))] = seq
        elif kind == "input_cancelled":
            cancelled.add(str(data.get("id")))
        elif (input_id := data.get("input_id")) is not None:
            if seq <= at_seq:
                ended.add(str(input_id))
            else:
                later.append(str(input_id))
    dropped = tuple(each for each in inputs if each not in ended)
    began = [each for each in later if each in dropped] or [each for each in dropped if each not in cancelled]
    return Turns(tuple(each for each in inputs if each in ended), dropped, inputs[began[0]] if began else None)
