"""Bodies that are streamed over HTTP, in both directions, with a deadline for each piece and errors of our own."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

import aiohttp

from jelmore.session.errors import JelmoreError

PIECE_BYTES: Final = 256 * 1024


class Upload:
    """The body of a call. `error` is what its source raised: aiohttp would hide it behind an error of its own."""

    def __init__(self, line: bytes, body: AsyncIterator[bytes] | None) -> None:
        """Send the request `line`, then `body`."""
        self._line = line
        self._body = body
        self.error: BaseException | None = None

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the request line, then the body."""
        yield self._line
        if self._body is None:
            return
        try:
            async for piece in self._body:
                if piece:
                    yield piece
        except Exception as error:
            self.error = error
            raise


async def pieces(
    response: aiohttp.ClientResponse, within_s: float, broken: Callable[[BaseException], JelmoreError]
) -> AsyncGenerator[bytes]:
    """Yield the body of a response. Raises what `broken` makes of an error of the connection.

    `within_s` is the deadline of each piece.
    """
    try:
        while True:
            async with asyncio.timeout(within_s):
                piece = await response.content.read(PIECE_BYTES)
            if not piece:
                return
            yield piece
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise broken(error) from None
