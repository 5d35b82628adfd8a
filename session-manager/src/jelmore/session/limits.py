"""Resource limits of a session's container and how a wish, a default and a ceiling combine."""

from dataclasses import dataclass, fields
from typing import Final

from jelmore.session.errors import InvalidRequestError

MEBIBYTE: Final = 1024 * 1024
MINIMUM_MEMORY_BYTES: Final = 512 * MEBIBYTE
"""Claude Code alone holds 175-230 MB; less than this ends in the kernel's hands, not in an error message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use. Swap always equals memory, so that a session cannot slow the host by swapping."""

    memory_bytes: int = 4096 * MEBIBYTE
    cpus: float = 1.0
    pids: int = 1024


_FLOOR: Final = Limits(memory_bytes=MINIMUM_MEMORY_BYTES, cpus=0.1, pids=128)


def combine(wish: dict[str, float], default: Limits, ceiling: Limits) -> Limits:
    """Return `default` with the values of `wish`. Raises InvalidRequestError naming a value out of bounds."""
    chosen: dict[str, float] = {}
    for limit in fields(Limits):
        value = wish.get(limit.name, getattr(default, limit.name))
        low, high = getattr(_FLOOR, limit.name), getattr(ceiling, limit.name)
        if not low <= value <= high:
            raise InvalidRequestError(f"limits.{limit.name}: must be between {low} and {high}, is {value}")
        chosen[limit.name] = value
    return Limits(int(chosen["memory_bytes"]), float(chosen["cpus"]), int(chosen["pids"]))
