"""`RepositorySource` over the gateway's control socket: it alone holds the credentials."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import aiohttp

from jelmore.drivers.http_streams import Upload, pieces
from jelmore.ports import FetchedRepository
from jelmore.session.errors import ConflictError, DependencyError, RepositoryError
from jelmore_protocol.gateway import (
    BRANCH_HEADER,
    COMMIT_HEADER,
    REPOSITORY_FETCH_S,
    Pushed,
    PushRequest,
    RepositoryRequest,
)

ANSWER_S: Final = REPOSITORY_FETCH_S * 2
"""Until the answer begins: a fetch may wait for others."""

PIECE_S: Final = 60.0
_MAX_SAID: Final = 64 * 1024


class GatewayRepositories:
    """Fetches through one gateway. Each fetch opens a connection."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    @asynccontextmanager
    async def fetch(self, asked: RepositoryRequest) -> AsyncIterator[FetchedRepository]:
        """Ask the gateway for a repository and yield what it answers."""
        async with self._connected() as session:
            try:
                async with asyncio.timeout(ANSWER_S):
                    response = await session.post("http://gateway/repositories", data=asked.model_dump_json().encode())
                    said = b"" if response.ok else await response.content.read(_MAX_SAID)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise _away(error) from None
            async with response:
                if not response.ok:
                    raise _refusal(response.status, said)
                headers = response.headers
                branch = unquote(headers.get(BRANCH_HEADER, ""))
                yield FetchedRepository(headers.get(COMMIT_HEADER, ""), branch, pieces(response, PIECE_S, _broken))

    async def push(self, asked: PushRequest, bundle: AsyncIterator[bytes]) -> Pushed:
        """Send the gateway a bundle and return what it answers."""
        upload = Upload(asked.model_dump_json().encode() + b"\n", bundle)
        async with self._connected() as session:
            try:
                async with (
                    asyncio.timeout(ANSWER_S),
                    session.post("http://gateway/pushes", data=upload.pieces()) as response,
                ):
                    said = await response.content.read(_MAX_SAID)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise upload.error or _away(error) from None
        if not response.ok:
            raise _refusal(response.status, said)
        try:
            return Pushed.model_validate_json(said)
        except ValueError as error:
            raise DependencyError("gateway", f"it answers a push with {type(error).__name__}") from None

    def _connected(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))


def _away(error: BaseException) -> DependencyError:
    return DependencyError("gateway", str(error) or type(error).__name__)


def _broken(error: BaseException) -> DependencyError:
    return DependencyError("gateway", f"the repository broke off: {str(error) or type(error).__name__}")


def _refusal(status: int, said: bytes) -> RepositoryError | ConflictError | DependencyError:
    try:
        problem = json.loads(said)
        code, message = str(problem["code"]), str(problem["message"])
    except (ValueError, TypeError, KeyError):
        code, message = "", said.decode("utf-8", "replace")[:500]
    if status < 500 and code in {"repository", "invalid"}:  # noqa: PLR2004 - the caller's fault
        return RepositoryError(message)
    if code == "conflict":
        return ConflictError(message)
    return DependencyError("gateway", f"it cannot reach the repository: {message or status}")
