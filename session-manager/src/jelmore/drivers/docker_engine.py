"""The Docker engine's API, with a deadline on every call and every error mapped to our own.

aiodocker has no deadlines, reports a lost connection as status 900, lets timeouts through, and does not resume its
event stream. The workarounds, and the uses of its private methods, stay in this file.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from jelmore.session.errors import DependencyError, RefusedError

API_VERSION: Final = (1, 41)
"""The API version that this code uses: Docker 20.10 and newer."""

CALL_S: Final = 15.0
START_S: Final = 60.0
_MAX_MESSAGE: Final = 1000
"""Characters of an engine's message that are passed on: Podman's may quote the whole list of system calls."""

CHUNK_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where the engine is: `unix:///path` or `tcp://host:port`. `tls` is a folder with ca.pem, cert.pem and key.pem."""

    host: str
    tls: Path | None = None


class EngineError(Exception):
    """The engine refused a call. Never leaves the drivers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def absent(self) -> bool:
        """Whether the requested object does not exist."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def clashes(self) -> bool:
        """Whether the object already exists, or another call is changing it."""
        return self.status == HTTPStatus.CONFLICT or "is already in use" in self.message  # Podman 4 says 500

    @property
    def unlucky(self) -> bool:
        """Whether the same call may succeed later: a lost race or an engine failure."""
        return self.absent or self.clashes or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class DockerEngine:
    """A client for one engine. Methods raise DependencyError when it does not answer, EngineError when it refuses."""

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._docker: Docker | None = None
        self.is_podman = False  # known once the engine has answered

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        within_s: float = CALL_S,
    ) -> Any:
        """Return the JSON response, None when the body is empty."""
        async with self._translated(within_s):
            docker = await self._connected()
            data = None if body is None else json.dumps(body)
            query = docker._query(path, method, params=_texts(params), data=data)  # noqa: SLF001 - the only way in
            async with query as response:
                text = await response.read()
                return json.loads(text) if text.strip() else None

    async def send(self, path: str, source: Path, *, params: Mapping[str, Any], within_s: float) -> None:
        """Send a file as the body of a PUT."""
        async with self._translated(within_s):
            docker = await self._connected()
            with source.open("rb") as file:
                headers = {"Content-Type": "application/x-tar"}
                query = docker._query(  # noqa: SLF001 - the only way in
                    path,
                    "PUT",
                    params=_texts(params),
                    data=file,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=within_s),
                )
                async with query as response:
                    await response.read()

    async def read(
        self, path: str, *, params: Mapping[str, Any] | None = None, most_bytes: int, within_s: float
    ) -> bytes:
        """Return a raw response. Raises RefusedError when it is larger than `most_bytes`."""
        async with self._translated(within_s):
            docker = await self._connected()
            content = bytearray()
            async with docker._query(path, "GET", params=_texts(params)) as response:  # noqa: SLF001
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    content += chunk
                    if len(content) > most_bytes:
                        response.close()
                        raise RefusedError("docker", f"{path} is larger than {most_bytes} bytes")
            return bytes(content)

    async def pieces(self, path: str, *, params: Mapping[str, Any] | None = None) -> AsyncGenerator[bytes]:
        """Yield a raw response of any size piece by piece. Each piece has the deadline of a call."""
        async with self._translated(CALL_S):
            docker = await self._connected()
            response = await docker._query(path, "GET", params=_texts(params)).__aenter__()  # noqa: SLF001
        try:
            while True:
                async with self._translated(CALL_S):
                    piece = await response.content.read(PIECE_BYTES)
                if not piece:
                    return
                yield piece
        finally:
            response.close()

    @asynccontextmanager
    async def lines(
        self, path: str, *, params: Mapping[str, Any], quiet_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the lines of a streamed response, until the engine ends it or sends nothing for `quiet_s`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_S, sock_read=quiet_s)
        async with self._translated(CALL_S):
            docker = await self._connected()
            # The deadline covers only the time until the response begins.
            query = docker._query(path, "GET", params=_texts(params), timeout=timeout)  # noqa: SLF001
            response = await query.__aenter__()
        try:
            yield _lines(response)
        finally:
            response.close()

    async def close(self) -> None:
        """Close the connections."""
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()

    async def _connected(self) -> Docker:
        """Return the client. It uses the oldest API version that works, so a newer engine changes nothing."""
        if self._docker is None:
            self._docker = Docker(**_arguments(self._address), timeout=aiohttp.ClientTimeout(sock_connect=CALL_S))
        docker = self._docker
        if docker.api_version == "auto":
            said = await docker._query_json("version", versioned_api=False)  # noqa: SLF001
            self.is_podman = any("Podman" in str(each.get("Name")) for each in said.get("Components") or ())
            newest, oldest = _version(said["ApiVersion"]), _version(said.get("MinAPIVersion") or "1.12")
            if newest < API_VERSION:
                raise RefusedError(
                    "docker", f"the engine speaks API {said['ApiVersion']}; 1.41 (Docker 20.10) is needed"
                )
            docker.api_version = "v{}.{}".format(*max(API_VERSION, oldest))
        return docker

    @asynccontextmanager
    async def _translated(self, within_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(within_s):
                yield
        except TimeoutError:
            raise DependencyError("docker", f"no answer within {within_s:g} s") from None
        except DockerError as error:
            if error.status == 900:  # noqa: PLR2004 - aiodocker's status for a lost connection
                raise DependencyError("docker", f"{self._address.host} does not answer") from error
            raise EngineError(error.status, error.message.strip()) from None
        except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            raise DependencyError("docker", f"{self._address.host}: {str(error) or type(error).__name__}") from error


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for line in response.content:
            yield line
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return


def _arguments(address: EngineAddress) -> dict[str, Any]:
    if address.tls is None:
        return {"url": address.host}
    try:
        context = ssl.create_default_context(cafile=str(address.tls / "ca.pem"))
        context.load_cert_chain(address.tls / "cert.pem", address.tls / "key.pem")
    except OSError as error:
        raise RefusedError("docker", f"DOCKER_CERT_PATH {address.tls}: {error.strerror or error}") from None
    return {"url": "https://" + address.host.partition("://")[2], "ssl_context": context}


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _texts(params: Mapping[str, Any] | None) -> dict[str, str]:
    """Encode query parameters for the engine: structures as JSON, booleans as 0 and 1."""
    texts = {}
    for name, value in (params or {}).items():
        structured = isinstance(value, dict | list)
        texts[name] = json.dumps(value) if structured else str(int(value) if isinstance(value, bool) else value)
    return texts


def engine_failure(error: EngineError, what: str) -> DependencyError | RefusedError:
    """Convert to DependencyError when the call may succeed later, to RefusedError when it will be refused again."""
    text = f"could not {what}: {error.message[:_MAX_MESSAGE]}"
    if error.unlucky:
        return DependencyError("docker", text)
    return RefusedError("docker", text)
