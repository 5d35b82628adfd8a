"""Carries allowed calls to the engine and its responses back, unbuffered. Decides nothing: `routes`, `bodies` and
`objects` do.
"""

import asyncio
import json
import stat
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from jelmore_engine_proxy import bodies, objects
from jelmore_engine_proxy.policy import Policy, RefusedError
from jelmore_engine_proxy.profile_choices import ProfileChoices
from jelmore_engine_proxy.routes import Body, Call, Route, read
from jelmore_engine_proxy.settings import Settings

SOCKET_MODE: Final = 0o660
MAX_CALLS: Final = 256
"""At once, streams included. A manager has one stream of events and a few calls per session that starts or ends."""

CONNECT_S: Final = 10.0
LOOK_S: Final = 15.0
BODY_S: Final = 30.0
UNREAD_S: Final = 300.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
PIECE_BYTES: Final = 64 * 1024

_JSON: Final = {"Content-Type": "application/json"}
_KEPT: Final = ("Content-Type", "X-Docker-Container-Path-Stat", "Api-Version", "Docker-Experimental", "Ostype")

_log = structlog.get_logger("jelmore_engine_proxy")


class _EngineError(Exception):
    """The engine answers a look at an object with an error, which becomes the answer to the call."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class EngineProxy:
    """Serves one unix socket. `open` once; `close` ends every call."""

    def __init__(self, settings: Settings) -> None:
        """Do no I/O but reading certificates. Raises SettingsError."""
        self._policy: Policy = settings.policy
        self._profile_choices = ProfileChoices(settings.profiles)
        self._listen = settings.listen
        self._engine = settings.engine
        self._tls = settings.tls()
        self._client: aiohttp.ClientSession | None = None
        self._server: asyncio.Server | None = None
        self._http: web.Server | None = None
        self._calls = 0

    async def open(self) -> None:
        """Listen in place of an earlier proxy. Raises OSError."""
        connector: aiohttp.BaseConnector
        kind, _, rest = self._engine.partition("://")
        if kind == "unix":
            connector = aiohttp.UnixConnector(rest, limit=2 * MAX_CALLS)
            self._base = "http://engine"
        else:
            connector = aiohttp.TCPConnector(limit=2 * MAX_CALLS, ssl=self._tls or True)
            self._base = f"{'https' if self._tls else 'http'}://{rest}"
        self._client = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        self._http = web.Server(self._handle, handler_cancellation=True, auto_decompress=False, access_log=None)
        self._listen.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(self._http, str(self._listen))
        self._listen.chmod(SOCKET_MODE)

    async def close(self) -> None:
        """End every call and stop listening. May run twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._listen.unlink(missing_ok=True)
        if self._http is not None:
            await self._http.shutdown(1.0)
        if self._client is not None:
            await self._client.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._calls >= MAX_CALLS:
            return _answer(503, f"more than {MAX_CALLS} calls at once")
        self._calls += 1
        try:
            return await self._carry(request)
        except RefusedError as refused:
            method, target = request.method[:10], request.raw_path.partition("?")[0][:200]
            _log.warning("refused", method=method, target=target, reason=str(refused))
            return _last(_answer(403, f"engine proxy: {refused}"))
        except _EngineError as error:
            return web.Response(status=error.status, body=error.body, headers=_JSON)
        except TimeoutError:
            return _last(_answer(504, "engine proxy: the engine, or the body of the call, does not come"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _last(_answer(502, f"engine proxy: the engine does not answer ({type(error).__name__})"))
        finally:
            self._calls -= 1

    async def _carry(self, request: web.BaseRequest) -> web.StreamResponse:
        """Check the call, part by part, and carry it. Nothing reaches the engine before its check but looks."""
        if "Upgrade" in request.headers:
            raise RefusedError("Jelmore's calls do not upgrade their connection")
        chosen = await asyncio.to_thread(self._profile_choices.now)
        images, runtimes = self._policy.images | chosen.images, self._policy.runtimes | chosen.runtimes
        policy = replace(self._policy, images=images, runtimes=runtimes)
        call = read(request.method, request.raw_path, policy)
        checked = await self._checked_body(request, call, policy)
        if checked is not None:
            await asyncio.to_thread(_must_be_folders, checked.folders, self._policy.run_dir)
            await self._check_volume(checked.volume, call.version)
        if call.route.removes_volume and call.volume is not None:
            await self._check_volume(call.volume, call.version)
        container_id = None
        if call.route.use is not None and call.container is not None:
            inspected = await self._look(f"{call.version}/containers/{call.container}/json")
            instead = objects.check_container(inspected, call.route.use, self._policy)
            if call.route.use is objects.Use.LOOK:
                return web.Response(body=instead or json.dumps(inspected).encode(), headers=_JSON)
            container_id = str(inspected["Id"])
            if call.route.use is objects.Use.START:
                await asyncio.to_thread(_must_be_folders, _bound(inspected), self._policy.run_dir)
        if call.route.is_info:
            info = await self._look(f"{call.version}/info")
            return web.Response(body=objects.reduced_info(info), headers=_JSON)
        body: bytes | AsyncGenerator[bytes] | None = checked.body if checked is not None else None
        if call.route.body is Body.ARCHIVE:
            body = _pieces(request)
        return await self._forward(request, call.route, call.target(container_id), body)

    async def _checked_body(self, request: web.BaseRequest, call: Call, policy: Policy) -> bodies.Checked | None:
        if call.route.body is Body.ARCHIVE:
            return None
        raw = await _whole_body(request)
        if call.route.body is Body.CONTAINER:
            return bodies.create_container(raw, call.name, policy)
        if call.route.body is Body.VOLUME:
            return bodies.create_volume(raw, policy)
        if raw:
            raise RefusedError("this call has no body")
        return None

    async def _check_volume(self, name: str, version: str) -> None:
        """Check a volume that exists. A missing one is made by this very call, or is not there to be removed."""
        try:
            objects.check_volume(await self._look(f"{version}/volumes/{name}"), self._policy)
        except _EngineError as error:
            if error.status != web.HTTPNotFound.status_code:
                raise

    async def _look(self, target: str) -> dict[str, Any]:
        """Return the engine's JSON. Raises _EngineError with its answer when that is an error."""
        async with asyncio.timeout(LOOK_S), self._call("GET", target) as response:
            parts = bytearray()
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                parts += piece
                if len(parts) > MAX_ANSWER_BYTES:
                    raise ValueError("the engine's answer is too large")
            if response.status != 200:  # noqa: PLR2004
                raise _EngineError(response.status, bytes(parts))
            found: dict[str, Any] = json.loads(parts)
            return found

    def _call(
        self,
        method: str,
        target: str,
        body: bytes | AsyncGenerator[bytes] | None = None,
        silence_s: float | None = LOOK_S,
        kind: str = "application/json",
    ) -> Any:
        assert self._client is not None  # noqa: S101 - `open` made it
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)
        headers = {"Content-Type": kind} if body is not None else {}
        skip = ("Content-Type", "User-Agent", "Accept-Encoding")
        url = URL(self._base + target, encoded=True)
        return self._client.request(
            method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False, skip_auto_headers=skip
        )

    async def _forward(
        self, request: web.BaseRequest, route: Route, target: str, body: bytes | AsyncGenerator[bytes] | None
    ) -> web.StreamResponse:
        kind = "application/x-tar" if route.body is Body.ARCHIVE else "application/json"
        async with self._call(route.method, target, body, route.silence_s, kind) as response:
            answer = web.StreamResponse(status=response.status, reason=response.reason)
            for name in _KEPT:
                if name in response.headers:
                    answer.headers[name] = response.headers[name]
            try:
                async with asyncio.timeout(UNREAD_S):
                    await answer.prepare(request)
                async for piece in response.content.iter_any():
                    async with asyncio.timeout(UNREAD_S):
                        await answer.write(piece)
                async with asyncio.timeout(UNREAD_S):
                    await answer.write_eof()
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
                if request.transport is not None:  # so that nobody takes a part for the whole
                    request.transport.abort()
            return answer


async def _whole_body(request: web.BaseRequest) -> bytes:
    """Return the body. Raises RefusedError when it is too large, TimeoutError when it does not come."""
    parts = bytearray()
    async with asyncio.timeout(BODY_S):
        async for piece in request.content.iter_any():
            parts += piece
            if len(parts) > bodies.MAX_BODY_BYTES:
                raise RefusedError(f"the body is larger than {bodies.MAX_BODY_BYTES} bytes")
    return bytes(parts)


async def _pieces(request: web.BaseRequest) -> AsyncGenerator[bytes]:
    while True:
        async with asyncio.timeout(BODY_S):
            piece = await request.content.readany()
        if not piece:
            return
        yield piece


def _bound(inspected: dict[str, Any]) -> tuple[Path, ...]:
    mounts = (inspected.get("HostConfig") or {}).get("Mounts") or []
    return tuple(Path(each["Source"]) for each in mounts if each.get("Type") == "bind")


def _must_be_folders(folders: tuple[Path, ...], run_dir: Path) -> None:
    """Refuse a link below the run directory: the engine would follow it to any folder of its host.

    A folder that is missing is the engine's to refuse.
    """
    for folder in folders:
        steps = [each for each in (folder, *folder.parents) if each.is_relative_to(run_dir) and each != run_dir]
        for step in steps:
            try:
                if not stat.S_ISDIR(step.lstat().st_mode):
                    raise RefusedError(f"HostConfig.Mounts: {step} is not a folder")
            except FileNotFoundError:
                continue


def _answer(status: int, message: str) -> web.Response:
    # Without a character set, as the engine: its clients look for this type as it is.
    return web.Response(status=status, body=json.dumps({"message": message}).encode(), headers=_JSON)


def _last(answer: web.Response) -> web.Response:
    """End the connection after this answer: what follows of the request is not read."""
    answer.force_close()
    return answer
