"""Carries one call to another server and its response back, unbuffered, with a deadline for each phase.

Nothing is repeated that may have been carried out, so a request that broke off is not. One case is left: a server that
answers 401 to an access token. That status says that the request "has not been applied because it lacks valid
authentication credentials" (RFC 9110, section 15.5.2), so it is sent once more with another token, if its body is
still known. Another status says no such thing: a 403 or a 5xx may come from a server that did the work.

Each direction holds at most a few hundred kilobytes, because the side that reads slowly stops the side that sends.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from jelmore_gateway.model_requests import Headers, declared_bytes, response_headers
from jelmore_gateway.refusals import RefusedError, too_large, unavailable

PIECE_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each phase of a call may take, in seconds."""

    connect_s: float = 10.0
    upload_silence_s: float = 60.0  # between two pieces of the request
    silence_s: float = 900.0  # before the head of the response and between its pieces; a model may think for minutes
    unread_s: float = 300.0  # a sandbox that reads nothing


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as it goes to the other server."""

    url: URL
    headers: Headers
    name: str  # of the other server, for messages
    max_body_bytes: int
    on_status: Callable[[int], None] = lambda _: None  # called when the response begins
    renewed: Callable[[], Awaitable[tuple[str, str] | None]] | None = None
    """Returns the header with another credential after a 401, None when there is no other. None: after no response."""

    def with_header(self, header: tuple[str, str]) -> "Call":
        """Return the call with another value of a header."""
        kept = [each for each in self.headers if each[0].lower() != header[0].lower()]
        return replace(self, headers=[*kept, header])


class Observer:
    """Sees a response pass. This one ignores it."""

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """See the head. Raises RefusedError to give the sandbox that refusal instead of the response."""

    def headers(self, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        """Return the headers of the response; those that a sandbox must not get are dropped afterwards."""
        return CIMultiDict(response.headers)

    def piece(self, data: bytes) -> bytes:
        """See the next piece of the body; return what passes of it. Raises ValueError to break the response off."""
        return data

    async def end(self, *, complete: bool) -> None:
        """See the end: before the sandbox does when the response is `complete`, else after it broke off."""


async def forward(
    request: web.BaseRequest,
    call: Call,
    client: aiohttp.ClientSession,
    deadlines: Deadlines,
    observer: Observer,
    *,
    body: bytes | None = None,
) -> web.StreamResponse:
    """Carry the call and its response; return the response, which is sent by then. `body` is one that was read before.

    A 401 to a call with `renewed` is answered once with the header that it returns, when the request has no body or one
    that was read before. A body that passed as a stream is gone, so its 401 goes to the sandbox; its next call has the
    new header. Raises RefusedError when nothing was sent to the sandbox yet. If the response breaks off after that, the
    sandbox's connection is cut, so that it cannot take a part for the whole.
    """
    declared = declared_bytes(request.headers)
    if declared is not None and declared > call.max_body_bytes:
        raise too_large(f"a request is at most {call.max_body_bytes} bytes")
    sent = body if body is not None else _body(request, call, deadlines) if request.can_read_body else None
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=deadlines.connect_s, sock_read=deadlines.silence_s, ceil_threshold=60
    )
    again: Call | None = None
    try:
        async with client.request(
            request.method, call.url, headers=call.headers, data=sent, timeout=timeout, allow_redirects=False
        ) as response:
            if response.status == HTTPStatus.UNAUTHORIZED and call.renewed is not None:
                header = await call.renewed()
                if header and not isinstance(sent, AsyncGenerator):
                    again = replace(call.with_header(header), renewed=None)
            if again is None:
                call.on_status(response.status)
                observer.begin(response)
                return await _download(request, response, deadlines, observer)
            response.close()
    except RefusedError:
        raise
    except TimeoutError:
        raise unavailable(f"{call.name} did not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if isinstance(error.__cause__, RefusedError):  # raised while the body was sent
            raise error.__cause__ from None
        raise unavailable(f"{call.name} does not answer for now ({type(error).__name__})") from None
    return await forward(request, again, client, deadlines, observer, body=body)


async def _body(request: web.BaseRequest, call: Call, deadlines: Deadlines) -> AsyncGenerator[bytes]:
    sent = 0
    while True:
        async with asyncio.timeout(deadlines.upload_silence_s):
            piece = await request.content.readany()
        if not piece:
            return
        sent += len(piece)
        if sent > call.max_body_bytes:
            raise too_large(f"a request is at most {call.max_body_bytes} bytes")
        yield piece


async def _download(
    request: web.BaseRequest, response: aiohttp.ClientResponse, deadlines: Deadlines, observer: Observer
) -> web.StreamResponse:
    answer = web.StreamResponse(status=response.status, reason=response.reason)
    for name, value in response_headers(observer.headers(response).items()):
        answer.headers.add(name, value)
    answer.headers["Server"] = "jelmore"
    complete, left = False, response.content_length
    try:
        async with asyncio.timeout(deadlines.unread_s):
            await answer.prepare(request)
        async for piece in response.content.iter_any():
            passed = observer.piece(piece)
            left = None if left is None else left - len(piece)
            if left == 0:  # the sandbox sees the end with this piece
                complete = True
                await observer.end(complete=True)
            if passed:
                async with asyncio.timeout(deadlines.unread_s):
                    await answer.write(passed)
        if not complete:
            complete = True
            await observer.end(complete=True)
        async with asyncio.timeout(deadlines.unread_s):
            await answer.write_eof()
    except (aiohttp.ClientError, OSError, ValueError):
        if request.transport is not None:
            request.transport.abort()
    finally:
        if not complete:
            await observer.end(complete=False)
    return answer
