"""Reads the body of a request as a stream of any size, with a deadline for each piece."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

LONGEST_S: Final = 3600.0
"""How long one body may take in all, however small its pieces are."""


async def body_pieces(request: Request, timeout_s: float) -> AsyncGenerator[bytes]:
    """Yield the request's body as it arrives. Raises HTTPException when it stops arriving or does not end."""
    pieces = aiter(request.stream())
    ends_at = asyncio.get_running_loop().time() + LONGEST_S
    while True:
        if asyncio.get_running_loop().time() > ends_at:
            raise HTTPException(408, f"the body took more than {LONGEST_S:.0f} s")
        try:
            async with asyncio.timeout(timeout_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"nothing of the body arrived for {timeout_s:.0f} s") from None
        except ClientDisconnect:
            raise HTTPException(400, "the client went away") from None
        yield piece
