"""How fast a relay is read as far as nothing of it is stored. PostgreSQL paces output; nothing else paces deltas."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

FRAMES_PER_S: Final = 2_000
"""An agent writes about a hundred deltas per second."""

CHARACTERS_PER_S: Final = 8 * 1024 * 1024


@dataclass(slots=True)
class Pace:
    """Counts the frames of one relay that are not output. Pure, but for its clock."""

    clock: Callable[[], float] = monotonic
    _began: float = field(default=0.0, init=False)
    _frames: int = field(default=0, init=False)
    _characters: int = field(default=0, init=False)

    def wait_s(self, characters: int) -> float:
        """Count a frame; return for how many seconds nothing more may be read."""
        now = self.clock()
        if now - self._began >= 1:
            self._began, self._frames, self._characters = now, 0, 0
        self._frames += 1
        self._characters += characters
        if self._frames < FRAMES_PER_S and self._characters < CHARACTERS_PER_S:
            return 0
        seconds = max(1.0, self._characters / CHARACTERS_PER_S)  # a large frame is paid for whole
        return self._began + seconds - now
