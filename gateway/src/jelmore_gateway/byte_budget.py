"""One bound for the bytes that many calls hold in memory, divided so that no number of sandboxes can use all of it.

A bound of each queue alone is none: a sandbox makes many calls at once, and there are many sandboxes. A fixed part for
each sandbox is not enough either: a few of them that fill their parts leave nothing for the next. So the part shrinks
with what is left, as the dynamic thresholds of switches do (Choudhury and Hahne, 1998): a sandbox holds at most a
quarter of what stays free. Each one that comes takes less, and there is room for one more.
"""

import asyncio
from collections import Counter
from typing import Final

_PART_OF_FREE: Final = 4


class ByteBudget:
    """Counts the bytes that are in memory, in all and by owner.

    An owner may hold `floor_bytes` while there is any room, and beyond that a quarter of what stays free, at most
    `share_bytes`.
    """

    def __init__(self, most_bytes: int, share_bytes: int, floor_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._share_bytes = share_bytes
        self._floor_bytes = floor_bytes
        self._bytes = 0
        self._of: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def has_room(self, owner: str, size: int) -> bool:
        """Return whether an owner may hold `size` bytes more."""
        held, free = self._of.get(owner, 0) + size, self._most_bytes - self._bytes - size
        return free >= 0 and held <= max(self._floor_bytes, min(self._share_bytes, free // _PART_OF_FREE))

    def add(self, owner: str, size: int) -> None:
        """Count bytes that are in memory now. `has_room` was asked before, but for a few bytes that must not wait."""
        self._bytes += size
        self._of[owner] += size

    def give(self, owner: str, size: int) -> None:
        """Count bytes that are not in memory any more, and wake who waits for room."""
        self._bytes -= size
        self._of[owner] -= size
        if self._of[owner] <= 0:
            del self._of[owner]
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()

    async def change(self) -> None:
        """Wait for `wake` or for bytes that are given back. The caller has a deadline."""
        self._changed.clear()
        await self._changed.wait()
