"""Responses that begin before the request was read.

Closing a connection with unread bytes resets it, and Caddy, still sending, turns our 401 into a 503. So a part of the
request is read before the response, and another part after it, while the client reads the response.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from starlette.types import Receive

BODY_IN_USE: Final = "body_in_use"
"""Set in the ASGI scope's `state` before a response whose sender still reads the request."""

_READ_ON_BYTES: Final = 4 * 1024 * 1024
_READ_ON_S: Final = 5.0
_LINGER_BYTES: Final = 1024 * 1024 * 1024
_LINGER_S: Final = 10.0


async def linger(receive: Receive, is_read: Callable[[], bool]) -> None:
    """Take what a client sends that has not read the response yet, until it closes the connection or the body ends."""
    await read_on(receive, is_read, _LINGER_BYTES, _LINGER_S)


async def read_on(
    receive: Receive,
    is_read: Callable[[], bool],
    most_bytes: int = _READ_ON_BYTES,
    within_s: float = _READ_ON_S,
) -> bool:
    """Discard the rest of the request's body; return whether its end was reached.

    Bounded in bytes and time, because the client may not be authenticated. May run twice.
    """
    left_bytes = most_bytes
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not is_read() and left_bytes > 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    break
                left_bytes -= len(message.get("body", b""))
    return is_read()
