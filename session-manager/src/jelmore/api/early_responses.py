"""Responses that begin before the request was read.

Closing a connection with unread bytes resets it, and Caddy, still sending, turns our 401 into a 503.
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


async def read_on(receive: Receive, is_read: Callable[[], bool]) -> bool:
    """Discard the rest of the request's body; return whether its end was reached.

    Bounded in bytes and time, because the client may not be authenticated. May run twice.
    """
    left_bytes = _READ_ON_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_ON_S):
            while not is_read() and left_bytes > 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    break
                left_bytes -= len(message.get("body", b""))
    return is_read()
