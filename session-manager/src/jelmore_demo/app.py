"""The demo model over HTTP: the paths of the Messages API that Claude Code calls, and `/health`.

Keeps no state between requests. A client that disconnects ends its stream. A client that stops reading or sending is
disconnected after a deadline, so that it cannot hold a connection forever.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jelmore_demo import messages
from jelmore_demo.conversation import Request
from jelmore_demo.directives import NAME, Fail, Reply, plan

MODEL: Final = "demo-model"
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
BODY_DEADLINE_S: Final = 120.0
SEND_DEADLINE_S: Final = 60.0
PING_EVERY_S: Final = 10.0  # a client may treat a silent stream as dead
CHUNK_BYTES: Final = 16 * 1024
# Without this Claude Code repeats 408, 409, 429 and 5xx for minutes, and `fail` would mean "hang".
NO_RETRY: Final = {"x-should-retry": "false"}


def create_app() -> Starlette:
    """Return the ASGI application. It keeps no state: several processes may serve one conversation."""
    routes = [
        Route("/v1/messages", create_message, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/v1/models", list_models),
        Route("/health", health),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(SendDeadline)],
        exception_handlers={HTTPException: refuse},
    )


class SendDeadline:
    """Ends a response whose client does not take the next piece within `SEND_DEADLINE_S`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def bounded_send(message: Message) -> None:
            async with asyncio.timeout(SEND_DEADLINE_S):
                await send(message)

        await self.app(scope, receive, bounded_send)


async def create_message(http_request: HttpRequest) -> Response:
    """Answer `POST /v1/messages`, as a stream if the body asks for it."""
    request = await _read(http_request)
    reply = plan(request)
    if isinstance(reply.ending, Fail):
        # Not an `error` event inside a stream: Claude Code hides that by requesting the rest again.
        await _pause(http_request, messages.pause_s(reply))
        return JSONResponse(messages.failure_body(reply.ending), reply.ending.status, NO_RETRY)
    if request.stream:
        headers = {"cache-control": "no-cache"}
        return StreamingResponse(_stream(request, reply), media_type="text/event-stream", headers=headers)
    await _pause(http_request, messages.pause_s(reply))
    return JSONResponse(messages.document(request, reply))


async def count_tokens(http_request: HttpRequest) -> Response:
    """Answer `POST /v1/messages/count_tokens`. Each word counts as one token."""
    request = await _read(http_request)
    return JSONResponse({"input_tokens": request.input_words})


async def list_models(_: HttpRequest) -> Response:
    """Answer `GET /v1/models`. Requests may use any other model name as well."""
    model = {"type": "model", "id": MODEL, "display_name": NAME, "created_at": "2025-01-01T00:00:00Z"}
    return JSONResponse({"data": [model], "has_more": False, "first_id": MODEL, "last_id": MODEL})


async def health(_: HttpRequest) -> Response:
    """Answer `GET /health`. Always healthy: this process depends on no other."""
    return JSONResponse({"status": "ok", "model": MODEL})


async def refuse(_: HttpRequest, error: Exception) -> Response:
    """Convert an HTTP error to the format of the Messages API."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse(messages.error_body(error.status_code, error.detail), error.status_code, error.headers)


async def _read(http_request: HttpRequest) -> Request:
    """Return the validated body. Raises HTTPException 400, 408 or 413."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in http_request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return Request.model_validate_json(bytes(body))
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {BODY_DEADLINE_S:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client went away") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "body"
        raise HTTPException(400, f"{where}: {first['msg']}") from None


async def _pause(http_request: HttpRequest, seconds: float) -> None:
    """Wait before a response that is not streamed. Returns early if the client disconnects."""
    if seconds:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await http_request.receive())["type"] != "http.disconnect":
                    pass


async def _stream(request: Request, reply: Reply) -> AsyncIterator[bytes]:
    """Yield the reply in chunks of about `CHUNK_BYTES`, waiting for each pause."""
    chunk = bytearray()
    for item in messages.events(request, reply):
        if isinstance(item, bytes):
            chunk += item
            if len(chunk) < CHUNK_BYTES:
                continue
        if chunk:
            yield bytes(chunk)
            chunk.clear()
            await asyncio.sleep(0)  # sending may never block, and a long reply must not block others
        if isinstance(item, messages.Pause):
            for rest_s in _pauses(item.seconds):
                await asyncio.sleep(rest_s)
                if rest_s == PING_EVERY_S:
                    yield messages.PING
    yield bytes(chunk)


def _pauses(seconds: float) -> Iterator[float]:
    """Split a pause into parts of at most `PING_EVERY_S` seconds."""
    while seconds > PING_EVERY_S:
        yield PING_EVERY_S
        seconds -= PING_EVERY_S
    yield seconds
