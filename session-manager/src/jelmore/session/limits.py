"""Resource limits of a session's container and how a request, a default and a ceiling combine."""

from dataclasses import dataclass, fields
from typing import Final

from jelmore.session.errors import InvalidRequestError

MEBIBYTE: Final = 1024 * 1024
MINIMUM_MEMORY_BYTES: Final = 512 * MEBIBYTE
"""Claude Code alone uses 175-230 MB. With too little memory the kernel kills it without an error message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use. Swap always equals memory, so that a session cannot slow the host by swapping.

    `workspace_bytes` counts the whole volume; the runner enforces it, not the engine. 0 means no limit; only the
    deployment's default can set it. The runner also enforces the limits of output, beyond which large events are cut;
    0, as in sessions stored by older code, means the deployment's default at each start.
    """

    memory_bytes: int = 4096 * MEBIBYTE
    cpus: float = 1.0
    pids: int = 1024
    workspace_bytes: int = 10 * 1024 * MEBIBYTE
    output_bytes: int = 0
    output_bytes_per_s: int = 0


MINIMUM_WORKSPACE_BYTES: Final = 32 * MEBIBYTE
"""Claude Code's own files and the journal need a few MiB."""

MINIMUM_OUTPUT_BYTES: Final = MEBIBYTE
MINIMUM_OUTPUT_BYTES_PER_S: Final = 1024

_FLOOR: Final = Limits(
    MINIMUM_MEMORY_BYTES, 0.1, 128, MINIMUM_WORKSPACE_BYTES, MINIMUM_OUTPUT_BYTES, MINIMUM_OUTPUT_BYTES_PER_S
)


def combine(requested: dict[str, float], default: Limits, ceiling: Limits) -> Limits:
    """Return `default` with the values of `requested`. Raises InvalidRequestError naming a value out of bounds."""
    chosen: dict[str, float] = {}
    for limit in fields(Limits):
        value = requested.get(limit.name, getattr(default, limit.name))
        low, high = getattr(_FLOOR, limit.name), getattr(ceiling, limit.name)
        if limit.name in requested and not low <= value <= high:
            raise InvalidRequestError(f"limits.{limit.name}: must be between {low} and {high}, is {value}")
        chosen[limit.name] = value
    whole = {name: int(value) for name, value in chosen.items() if name != "cpus"}
    return Limits(cpus=float(chosen["cpus"]), **whole)
