"""What Claude Code prints on its standard error: the last lines, and a bounded part of it in the container's log.

What runs as the agent's user can write there too. Each printed line costs the engine work on the host, outside of the
session's limits, and ends up in somebody's terminal.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_CHARACTERS: Final = 2000
KEPT_LINES: Final = 100
BURST_LINES: Final = 200
LINES_PER_S: Final = 10.0


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the container's log


@dataclass(slots=True)
class StandardError:
    """Takes lines; `lines` are the last ones. Printed are `BURST_LINES` at once, and `LINES_PER_S` after that."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    printed: Callable[[str], None] = _print
    now_s: Callable[[], float] = time.monotonic
    _room: float = BURST_LINES
    _room_at_s: float = 0.0
    _left_out: int = 0

    def take(self, line: str) -> None:
        """Take one line. Control characters become spaces."""
        line = "".join(each if each.isprintable() else " " for each in line[:MAX_CHARACTERS])
        self.lines.append(line)
        now_s = self.now_s()
        self._room = min(BURST_LINES, self._room + (now_s - self._room_at_s) * LINES_PER_S)
        self._room_at_s = now_s
        if self._room < 1:
            self._left_out += 1
            return
        if self._left_out:
            self.printed(f"claude: … {self._left_out} lines left out")
            self._left_out = 0
        self._room -= 1
        self.printed(f"claude: {line}")
