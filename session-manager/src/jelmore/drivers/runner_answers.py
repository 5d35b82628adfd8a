"""Reads the answers of runners: bounded, within a deadline, and with the runner's refusals as our errors."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final
from uuid import UUID

import aiohttp
from pydantic import BaseModel, ValidationError

from jelmore.session.errors import (
    CapacityError,
    ConflictError,
    DependencyError,
    JelmoreError,
    RefusedError,
    SessionEndedError,
    TooLargeError,
    UnknownRequestError,
    WorkspaceFullError,
)
from jelmore_protocol.bounds import MAX_JSON_VALUES
from jelmore_protocol.control import Refusal
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.json_bounds import LARGE_CHARACTERS, has_too_many_values


class UnusableError(RefusedError):
    """The runner cannot use a value of the request, which its text names."""


MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_MAX_REFUSAL_BYTES: Final = LARGE_CHARACTERS


@asynccontextmanager
async def translated(within_s: float) -> AsyncIterator[None]:
    """Run the block within a deadline; errors of the library and the socket become DependencyError."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise DependencyError("runner", f"no answer within {within_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise DependencyError("runner", f"{str(error) or type(error).__name__}") from None


async def bounded(response: aiohttp.ClientResponse, most_bytes: int = MAX_ANSWER_BYTES) -> bytes:
    """Return the body. Raises DependencyError when it is larger."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > most_bytes:
            raise DependencyError("runner", f"an answer of more than {most_bytes} bytes")
    return bytes(content)


async def parsed[M: BaseModel](text: bytes, shape: type[M], what: str) -> M:
    """Return the answer to the call `what`. Raises DependencyError when it has another shape or very many values.

    Sandboxes are untrusted: 16 MiB of small values would need gigabytes and stop the event loop for minutes.
    """
    if len(text) <= LARGE_CHARACTERS:
        return _parsed(text, shape, what)
    return await asyncio.to_thread(_parsed, text, shape, what)


def _parsed[M: BaseModel](text: bytes, shape: type[M], what: str) -> M:
    check_values(text, what)
    try:
        return shape.model_validate_json(text)
    except ValidationError:
        raise DependencyError("runner", f"{what} answered with something else than {shape.__name__}") from None


def check_values(text: str | bytes, what: str) -> None:
    """Raise DependencyError for JSON with more values than any answer has."""
    if len(text) > LARGE_CHARACTERS and has_too_many_values(
        text if isinstance(text, str) else text.decode("utf-8", "replace")
    ):
        raise DependencyError("runner", f"{what} answered with more than {MAX_JSON_VALUES} values")


def refusal_error(status: int, text: bytes) -> JelmoreError:
    """Convert the runner's refusal to our error. An unknown code is converted by its HTTP status."""
    try:
        refusal = Refusal.model_validate_json(text[:_MAX_REFUSAL_BYTES])
    except ValidationError:
        return DependencyError("runner", f"answered {status} with something that is not a refusal")
    message = refusal.message
    errors: Mapping[str, JelmoreError] = {
        ErrorCode.CONFLICT: ConflictError(message),
        ErrorCode.UNKNOWN_REQUEST: UnknownRequestError(message),
        ErrorCode.INPUT_TOO_LARGE: TooLargeError(message),
        ErrorCode.QUEUE_FULL: CapacityError(message),
        ErrorCode.WORKSPACE_FULL: WorkspaceFullError(message),
        ErrorCode.UNAVAILABLE: DependencyError("runner", message),
        ErrorCode.BAD_FRAME: UnusableError("runner", message),
        ErrorCode.INPUT_EMPTY: UnusableError("runner", message),
    }
    if refusal.code == ErrorCode.ENDED:
        ended = SessionEndedError(UUID(int=0))
        ended.args = (message,)
        return ended
    known = errors.get(refusal.code)
    if known is not None:
        return known
    return (
        DependencyError("runner", message)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR
        else RefusedError("runner", message)
    )
