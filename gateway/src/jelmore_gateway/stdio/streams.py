"""Messages on their way from a server to a client, bounded in bytes: a slow client stops its own server."""

import asyncio
from collections import deque
from typing import Final

MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
ROOM_S: Final = 60.0


class StreamFullError(Exception):
    """A client has read nothing for too long."""


class Messages:
    """A queue of messages. One that is larger than the bound passes when the queue is empty."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.ended = False

    async def put(self, message: bytes) -> None:
        """Add a message, once there is room. Raises StreamFullError after a minute without."""
        try:
            async with asyncio.timeout(ROOM_S):
                while self._waiting and self._bytes + len(message) > MAX_WAITING_BYTES and not self.ended:
                    await self._wait()
        except TimeoutError:
            raise StreamFullError from None
        self._waiting.append(message)
        self._bytes += len(message)
        self._changed.set()

    def end(self, last: bytes | None = None) -> None:
        """Add no more, but for a last message of a stream that has not ended. May run twice."""
        if last is not None and not self.ended:
            self._waiting.append(last)
            self._bytes += len(last)
        self.ended = True
        self._changed.set()

    async def next(self, wait_s: float) -> bytes | None:
        """Return the next message, None at the end. Raises TimeoutError when none comes in time."""
        async with asyncio.timeout(wait_s):
            while not self._waiting:
                if self.ended:
                    return None
                await self._wait()
        message = self._waiting.popleft()
        self._bytes -= len(message)
        self._changed.set()
        return message

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
