"""Messages on their way from a server to a client, bounded in bytes: a slow client stops its own server."""

import asyncio
from collections import deque
from typing import Final

from jelmore_gateway.byte_budget import ByteBudget

MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
MAX_BYTES: Final = 128 * 1024 * 1024
"""Of all streams of all sandboxes."""

MAX_OF_SANDBOX_BYTES: Final = 16 * 1024 * 1024
FLOOR_BYTES: Final = 4 * 1024 * 1024
"""One message of the largest size."""

ROOM_S: Final = 60.0


class StreamFullError(Exception):
    """A client has read nothing for too long."""


class Messages:
    """A queue of messages, which count in the memory of a sandbox until they are taken or `discard` is called."""

    def __init__(self, memory: ByteBudget, sandbox: str) -> None:
        self._memory = memory
        self._sandbox = sandbox
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self.ended = False

    async def put(self, message: bytes) -> None:
        """Add a message, once there is room, unless the stream ends. Raises StreamFullError after a minute without.

        One that is larger than the bound of the stream passes when nothing else waits in it.
        """
        try:
            async with asyncio.timeout(ROOM_S):
                while not self.ended and not self._has_room(len(message)):
                    await self._memory.change()
        except TimeoutError:
            raise StreamFullError from None
        if not self.ended:
            self._add(message)

    def end(self, last: bytes | None = None) -> None:
        """Add no more, but for a last message of a stream that has not ended. May run twice."""
        if last is not None and not self.ended:
            self._add(last)
        self.ended = True
        self._arrived.set()
        self._memory.wake()

    def discard(self) -> None:
        """End it, and drop what waits: nobody reads it any more. May run twice."""
        self.end()
        self._waiting.clear()
        self._memory.give(self._sandbox, self._bytes)
        self._bytes = 0

    async def next(self, wait_s: float) -> bytes | None:
        """Return the next message, None at the end. Raises TimeoutError when none comes in time."""
        async with asyncio.timeout(wait_s):
            while not self._waiting:
                if self.ended:
                    return None
                self._arrived.clear()
                await self._arrived.wait()
        message = self._waiting.popleft()
        self._bytes -= len(message)
        self._memory.give(self._sandbox, len(message))
        return message

    def _has_room(self, size: int) -> bool:
        own = not self._waiting or self._bytes + size <= MAX_WAITING_BYTES
        return own and self._memory.has_room(self._sandbox, size)

    def _add(self, message: bytes) -> None:
        self._waiting.append(message)
        self._bytes += len(message)
        self._memory.add(self._sandbox, len(message))
        self._arrived.set()
