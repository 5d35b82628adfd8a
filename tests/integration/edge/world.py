"""What stands around a real Caddy in these tests: managers and runners on unix sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from jelmore.drivers.caddy_config import SESSION_HEADER
from jelmore.ports import Address


@dataclass
class Peer:
    """A server on a unix socket that answers with its name and the request."""

    name: str
    seen: list[CIMultiDict[str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    first_sent: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=256 * 1024 * 1024)
        app.router.add_get("/{path:.*}", self.get)
        app.router.add_route("*", "/{path:.*}", self.other)
        return app

    async def get(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if request.path.endswith("/ws"):
            return await self._echo(request)
        if request.path.endswith("/stream"):
            return await self._stream(request)
        return web.json_response(
            {"name": self.name, "path": request.path, "session": request.headers.get(SESSION_HEADER)}
        )

    async def other(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        body = await request.read()
        return web.json_response({"name": self.name, "path": request.path_qs, "bytes": len(body)})

    def _note(self, request: web.Request) -> None:
        if request.path == "/readyz":  # Caddy's own question, once a second
            return
        self.seen.append(CIMultiDict(request.headers))
        self.paths.append(request.path_qs)

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(f"{self.name}:{message.data}")
        return websocket

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send one event, then wait: only an unbuffered hop shows it before the second one."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        self.first_sent.set()
        await self.go_on.wait()
        await response.write(b"data: second\n\n")
        return response


@asynccontextmanager
async def serving(peer: Peer, path: Path) -> AsyncIterator[Peer]:
    """Serve on a unix socket; at the end the socket's file is gone, as after an orderly stop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runner = web.AppRunner(peer.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.UnixSite(runner, str(path))
    await site.start()
    try:
        yield peer
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


@asynccontextmanager
async def serving_tcp(peer: Peer) -> AsyncIterator[Address]:
    """Serve on a free port of the loopback interface; yield the address."""
    runner = web.AppRunner(peer.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Address(f"tcp:127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


@asynccontextmanager
async def calling(socket: Path | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """A client, on a unix socket or on TCP."""
    connector = aiohttp.UnixConnector(str(socket)) if socket else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def answer(response: aiohttp.ClientResponse) -> dict[str, object]:
    """Return a JSON answer of whatever content type."""
    content: dict[str, object] = json.loads(await response.text())
    return content
