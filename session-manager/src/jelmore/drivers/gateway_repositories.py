"""`RepositorySource` over the gateway's control socket: it alone holds the credentials."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import aiohttp

from jelmore.ports import FetchedRepository
from jelmore.session.errors import DependencyError, RepositoryError
from jelmore_protocol.gateway import BRANCH_HEADER, COMMIT_HEADER, REPOSITORY_FETCH_S, RepositoryRequest

ANSWER_S: Final = REPOSITORY_FETCH_S * 2
"""Until the answer begins: a fetch may wait for others."""

PIECE_S: Final = 60.0
PIECE_BYTES: Final = 256 * 1024
_MOST_SAID: Final = 64 * 1024


class GatewayRepositories:
    """Fetches through one gateway. Each fetch connects anew."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    @asynccontextmanager
    async def fetch(self, asked: RepositoryRequest) -> AsyncIterator[FetchedRepository]:
        """Ask the gateway for a repository and yield what it answers."""
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                async with asyncio.timeout(ANSWER_S):
                    response = await session.post("http://gateway/repositories", data=asked.model_dump_json().encode())
                    said = b"" if response.ok else await response.content.read(_MOST_SAID)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise DependencyError("gateway", str(error) or type(error).__name__) from None
            async with response:
                if not response.ok:
                    raise _refusal(response.status, said)
                headers = response.headers
                branch = unquote(headers.get(BRANCH_HEADER, ""))
                yield FetchedRepository(headers.get(COMMIT_HEADER, ""), branch, _pieces(response))


async def _pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    try:
        while True:
            async with asyncio.timeout(PIECE_S):
                piece = await response.content.read(PIECE_BYTES)
            if not piece:
                return
            yield piece
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise DependencyError("gateway", f"the repository broke off: {str(error) or type(error).__name__}") from None


def _refusal(status: int, said: bytes) -> RepositoryError | DependencyError:
    try:
        told = json.loads(said)
        code, message = str(told["code"]), str(told["message"])
    except (ValueError, TypeError, KeyError):
        code, message = "", said.decode("utf-8", "replace")[:500]
    if status < 500 and code in {"repository", "invalid"}:  # noqa: PLR2004 - the caller's fault
        return RepositoryError(message)
    return DependencyError("gateway", f"it cannot fetch: {message or status}")
