"""Responses that begin before the request was read.

Closing a connection with unread bytes resets it, and Caddy, still sending, turns our 401 into a 503. A client that
sends everything before it reads then gets no response at all. So the request is read on: before the response, as Caddy
closes as soon as it has that, and after it, while a client without Caddy between reads the response.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

BODY_IN_USE: Final = "body_in_use"
"""Set in the ASGI scope's `state` before a response whose sender still reads the request."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a request is read that nobody needs."""

    most_bytes: int
    within_s: float


UNKNOWN: Final = Bounds(32 * 1024 * 1024, 5.0)
"""Of a client that is not authenticated."""

KNOWN: Final = Bounds(1024 * 1024 * 1024, 30.0)
"""Of one that is, and may as well upload that much."""

LINGER: Final = Bounds(1024 * 1024 * 1024, 10.0)
"""Of one that is, after the response."""

SILENCE_S: Final = 2.0
"""A client that sends nothing for so long waits for the response."""


async def read_on(receive: Receive, is_read: Callable[[], bool], bounds: Bounds = UNKNOWN) -> bool:
    """Discard the rest of the request's body; return whether its end was reached. May run twice."""
    left_bytes = bounds.most_bytes
    with suppress(TimeoutError):
        async with asyncio.timeout(bounds.within_s):
            while not is_read() and left_bytes > 0:
                async with asyncio.timeout(SILENCE_S):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    break
                left_bytes -= len(message.get("body", b""))
    return is_read()


class RequestBody:
    """The body of one request, as far as it was read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._asked_for = False
        self._is_read = False
        self.left = False  # whether a part of it is still to come that nobody needs

    async def receive(self) -> Message:
        """Return the next message of the request."""
        self._asked_for = True
        message = await self._receive()
        self._is_read |= message["type"] == "http.request" and not message.get("more_body", False)
        return message

    async def is_out_of_the_way(self) -> bool:
        """Read on before a response; return whether the connection can be used again after it."""
        headers, state = Headers(scope=self._scope), self._scope["state"]
        if not ("transfer-encoding" in headers or headers.get("content-length", "0") != "0"):
            return True
        if state.get(BODY_IN_USE, False):
            return self._is_read
        if not self._asked_for and headers.get("expect", "").lower() == "100-continue":
            return False  # the client waits with its body for us to ask
        self.left = not await self._read_on(KNOWN if self._is_known else UNKNOWN)
        return not self.left

    async def linger(self) -> None:
        """Read on after a response, until the client has read that and closes the connection."""
        await self._read_on(LINGER if self._is_known else UNKNOWN)

    @property
    def _is_known(self) -> bool:
        return "caller" in self._scope["state"]

    async def _read_on(self, bounds: Bounds) -> bool:
        return await read_on(self.receive, lambda: self._is_read, bounds)
