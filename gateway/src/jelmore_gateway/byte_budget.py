"""One bound for the bytes that many calls hold in memory, of which one sandbox may take a part at most.

A bound of each queue alone is none: a sandbox makes many calls at once, and there are many sandboxes. Without a part
for each, one sandbox could take all of it and so stop the calls of the others.
"""

import asyncio
from collections import Counter


class ByteBudget:
    """Counts the bytes that are in memory, in all and by owner."""

    def __init__(self, most_bytes: int, share_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._share_bytes = share_bytes
        self._bytes = 0
        self._of: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def has_room(self, owner: str, size: int) -> bool:
        """Return whether `size` bytes more would be within both bounds."""
        return self._bytes + size <= self._most_bytes and self._of.get(owner, 0) + size <= self._share_bytes

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
