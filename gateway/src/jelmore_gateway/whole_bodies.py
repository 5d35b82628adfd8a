"""Bodies of MCP messages, which are read whole before they are carried. What all of them take in memory is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiohttp import web

from jelmore_gateway.byte_budget import ByteBudget
from jelmore_gateway.refusals import RefusedError, too_large, unavailable

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_OF_SANDBOX_BYTES: Final = 16 * 1024 * 1024
FLOOR_BYTES: Final = 4 * 1024 * 1024
"""One message of the largest size."""


class WholeBodies:
    """Reads bodies, each within `deadline_s`."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._memory = ByteBudget(MAX_BYTES, MAX_OF_SANDBOX_BYTES, FLOOR_BYTES)

    @asynccontextmanager
    async def read(self, request: web.BaseRequest, sandbox: str, most_bytes: int) -> AsyncIterator[bytes]:
        """Yield the body of a sandbox's request; it counts until the block ends. Raises RefusedError."""
        body = bytearray()
        try:
            await self._fill(body, request, sandbox, most_bytes)
            yield bytes(body)
        finally:
            self._memory.give(sandbox, len(body))

    async def _fill(self, body: bytearray, request: web.BaseRequest, sandbox: str, most_bytes: int) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                while piece := await request.content.readany():
                    if len(body) + len(piece) > most_bytes:
                        raise too_large(f"a request is at most {most_bytes} bytes")
                    if not self._memory.has_room(sandbox, len(piece)):
                        raise unavailable("too many large messages are under way")
                    self._memory.add(sandbox, len(piece))
                    body += piece
        except (TimeoutError, aiohttp.ClientError):
            raise RefusedError(400, "invalid_request_error", "the body did not arrive whole") from None
