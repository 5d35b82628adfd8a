"""Bodies of calls on the control socket: read with a deadline and a bound, and parsed as one shape."""

import asyncio
from typing import Final

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from jelmore_protocol import control
from jelmore_protocol.bounds import MAX_JSON_VALUES
from jelmore_protocol.frames import ErrorCode, describe
from jelmore_protocol.json_bounds import LARGE_CHARACTERS, has_too_many_values
from jelmore_runner.errors import RefusedError

BODY_DEADLINE_S: Final = 30.0
MAX_BODY_BYTES: Final = 16 * 1024
MAX_LARGE_BODY_BYTES: Final = 8 * 1024 * 1024
"""The bound of the bodies with prompts, tool inputs or options: the largest frame of a client (6 MiB), and room."""

_LARGE: Final = frozenset(
    {control.Prepare, control.Init, control.InputRequest, control.PermissionAnswer, control.Revoke}
)
_PARSING: Final = asyncio.Semaphore(1)


async def body_of[M: BaseModel](request: Request, shape: type[M]) -> M:
    """Return the body as `shape`. Raises RefusedError if it is too large, late or invalid."""
    most = MAX_LARGE_BODY_BYTES if shape in _LARGE else MAX_BODY_BYTES
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise RefusedError(ErrorCode.INPUT_TOO_LARGE, f"a body of this call is at most {most} bytes")
    except (TimeoutError, ClientDisconnect):
        raise RefusedError(ErrorCode.BAD_FRAME, "the body did not arrive") from None
    try:
        if len(body) <= LARGE_CHARACTERS:
            return shape.model_validate_json(bytes(body))
        async with _PARSING:
            return await asyncio.to_thread(_parse_large, bytes(body), shape)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["loc"] == ("input",) and first["type"] == "string_too_short":
            raise RefusedError(ErrorCode.INPUT_EMPTY, "the input is empty") from None
        raise RefusedError(ErrorCode.BAD_FRAME, describe(error)) from None


def _parse_large[M: BaseModel](body: bytes, shape: type[M]) -> M:
    if has_too_many_values(body.decode("utf-8", "replace")):
        raise RefusedError(ErrorCode.BAD_FRAME, f"a body has at most {MAX_JSON_VALUES} values")
    return shape.model_validate_json(body)
