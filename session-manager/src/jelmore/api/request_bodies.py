"""Reads the JSON body of a request, bounded in bytes, time and values, before FastAPI parses it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from jelmore.api.body_stream import body_pieces
from jelmore.api.problems import MediaTypeError
from jelmore.api.services import Context
from jelmore.api.upload_parts import MultipartUpload
from jelmore.session.errors import CapacityError, InvalidRequestError, TooLargeError
from jelmore_protocol.bounds import MAX_JSON_VALUES
from jelmore_protocol.json_bounds import LARGE_CHARACTERS, has_too_many_values
from jelmore_protocol.websocket_server import READER_FRAME_BYTES

_FORM: Final = "application/x-www-form-urlencoded"
_JSON_STARTS: Final = (b"{", b"[")


def media_type(request: Request) -> str:
    """Return the declared type of the body, without parameters; empty when none is declared."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, context: Context, *, form_is_json: bool) -> None:
    """Read the body into the request, with or without Content-Length. A large one is parsed off the event loop.

    With `form_is_json`, a body that is declared as a form and looks like JSON is taken as JSON: `curl -d` declares a
    form, whatever it sends. That is for requests with a credential in a header, which a form of another web page cannot
    send, unlike a cookie.

    Raises TooLargeError, CapacityError (all bodies together are too large), InvalidRequestError, MediaTypeError,
    HTTPException 408 (too slow) or 400.
    """
    most_bytes = context.config.max_body_bytes
    too_large = TooLargeError(f"the body is larger than {most_bytes} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most_bytes:
        raise too_large
    body = await _collected(request.stream(), context, too_large)
    declared_as = media_type(request)
    if form_is_json and declared_as == _FORM and body.lstrip().startswith(_JSON_STARTS):
        declared_as = _as_json(request)
    if body and declared_as != "application/json" and not declared_as.endswith("+json"):
        raise MediaTypeError("send JSON, with Content-Type: application/json")
    await _accept(request, context, body)


async def _collected(pieces: AsyncIterator[bytes], context: Context, too_large: TooLargeError) -> bytes:
    """Return the pieces as one, bounded in bytes and time; raises what `read_body` does."""
    most_bytes, timeout_s = context.config.max_body_bytes, context.config.body_timeout_s
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            with context.stream_limits.limits.bodies.counted() as fits:
                async for piece in pieces:
                    body += piece
                    if len(body) > most_bytes:
                        raise too_large
                    if not fits(len(body)) and len(body) > READER_FRAME_BYTES:
                        raise CapacityError("too many large bodies are being received; try again later")
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {timeout_s:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client went away") from None
    return bytes(body)


async def _accept(request: Request, context: Context, body: bytes) -> None:
    """Make `body` the JSON of the request."""
    request._body = body  # noqa: SLF001 - where Starlette itself keeps a body that has been read
    if len(body) > LARGE_CHARACTERS:
        async with context.stream_limits.limits.parsing:  # shared with large WebSocket frames: one at a time
            request._json = await asyncio.to_thread(_parse_large, body)  # noqa: SLF001 - as above


async def read_session(request: Request, context: Context) -> None:
    """Read the first part of an upload as the request's body; its other parts are left to the handler."""
    pieces = body_pieces(request, context.config.body_timeout_s)
    upload = MultipartUpload(request.headers["content-type"], pieces)
    too_large = TooLargeError(f"session: is larger than {context.config.max_body_bytes} bytes")
    body = await _collected(upload.session(), context, too_large)
    _as_json(request)
    await _accept(request, context, body)
    request.state.upload = upload


def _as_json(request: Request) -> str:
    """Change the declared type of the body to JSON, and return that type."""
    request.scope["headers"] = [
        (name, b"application/json" if name == b"content-type" else value) for name, value in request.scope["headers"]
    ]
    del request._headers  # noqa: SLF001 - Starlette's copy of the former ones
    return "application/json"


def _parse_large(body: bytes) -> Any:
    """Parse a large body. Raises InvalidRequestError for too many values, RequestValidationError for bad JSON."""
    if has_too_many_values(body.decode("utf-8", "replace")):
        raise InvalidRequestError(f"the body has more than {MAX_JSON_VALUES} values")
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:  # as FastAPI itself reports it
        place = ("body", error.pos)
        raise RequestValidationError([{"type": "json_invalid", "loc": place, "ctx": {"error": error.msg}}]) from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "There was an error parsing the body") from None
