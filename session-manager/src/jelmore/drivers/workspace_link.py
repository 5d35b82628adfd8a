"""`WorkspaceHelpers` over HTTP on a runner's control socket: one POST per call, streamed in both directions."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from jelmore.drivers.http_streams import Upload, pieces
from jelmore.drivers.runner_answers import bounded, check_values, refusal_error
from jelmore.drivers.runner_http import opened_session
from jelmore.ports import ControlAddress, WorkspaceAnswer
from jelmore.session.errors import DependencyError
from jelmore.session.workspace_answers import parsed_head

MAX_CALLS: Final = 100
MAX_HEAD_BYTES: Final = 8 * 1024 * 1024
"""A listing of 1,000 entries with names of 255 bytes, escaped, and links; the changed files of a diff."""

PIECE_S: Final = 75.0
"""Deadline of each piece. Above the runner's own of 60 s, so that its refusal arrives."""

CALL_S: Final = 3700.0


class WorkspaceLink:
    """All calls of this manager to helpers. At most `MAX_CALLS` at once."""

    def __init__(self) -> None:
        self._at_once = asyncio.Semaphore(MAX_CALLS)

    @asynccontextmanager
    async def call(
        self, at: ControlAddress, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> AsyncIterator[WorkspaceAnswer]:
        """Give a call to a helper, and yield its answer once the body is taken."""
        sending = Upload(json.dumps(asked).encode() + b"\n", body)
        async with self._at_once, opened_session(at) as (session, base):
            timeout = aiohttp.ClientTimeout(total=CALL_S, sock_connect=5)
            try:
                response = await session.post(f"{base}/workspace", data=sending.pieces(), timeout=timeout)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise sending.error or _broken(error) from None
            async with response:
                if response.status != HTTPStatus.OK:
                    raise refusal_error(response.status, await bounded(response))
                content = pieces(response, PIECE_S, _broken)
                head, rest = await _head(content)
                yield WorkspaceAnswer(head, _joined(rest, content))


async def _head(content: AsyncGenerator[bytes]) -> tuple[Mapping[str, Any], bytes]:
    """Return the first line of an answer, and the content that came with it. Raises what the helper refuses."""
    line = bytearray()
    async for piece in content:
        begin, end, rest = piece.partition(b"\n")
        line += begin
        if len(line) > MAX_HEAD_BYTES:
            break
        if end:
            check_values(bytes(line), "the workspace")
            return parsed_head(bytes(line)), rest
    raise DependencyError("workspace", "the call broke off")


async def _joined(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


def _broken(error: BaseException) -> DependencyError:
    return DependencyError("workspace", f"the call broke off: {str(error) or type(error).__name__}")
