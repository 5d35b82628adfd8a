"""Which turns of a session had ended at a point of its output. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Turns:
    """Ids of inputs, in the order in which they were accepted."""

    kept: tuple[str, ...]  # their turns had ended
    dropped: tuple[str, ...]  # their turns ended later, run or wait


def turns_up_to(outputs: Iterable[tuple[int, str, Mapping[str, Any]]], at_seq: int) -> Turns:
    """Divide the inputs among `outputs` (seq, kind, data) of the kinds `input`, `turn_ended` and `interrupted`."""
    inputs: list[str] = []
    ended: set[str] = set()
    for seq, kind, data in outputs:
        if kind == "input":
            inputs.append(str(data.get("id")))
        elif seq <= at_seq and data.get("input_id") is not None:
            ended.add(str(data["input_id"]))
    kept = tuple(each for each in inputs if each in ended)
    return Turns(kept, tuple(each for each in inputs if each not in ended))
