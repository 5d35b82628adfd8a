"""What stands around a gateway in these tests: a scripted model API, and sandboxes that call it on their sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from jelmore_gateway.forward import Deadlines
from jelmore_gateway.gateway import Gateway
from jelmore_gateway.settings import Settings
from jelmore_gateway.state import State
from jelmore_protocol.gateway import MODEL_SOCKET, Registration, sandbox_key

SESSION = "0198c0de-0000-7000-8000-000000000001"
OTHER = "0198c0de-0000-7000-8000-000000000002"


@dataclass
class ModelApi:
    """A Messages API that does as the header `X-Stainless-Script` says."""

    seen: list[CIMultiDict[str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)  # a client went away before its response was complete
    pushed: int = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=256 * 1024 * 1024, handler_args={"auto_decompress": False})
        app.router.add_route("*", "/{path:.*}", self.serve)
        return app

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(CIMultiDict(request.headers))
        self.paths.append(request.path_qs)
        script = request.headers.get("X-Stainless-Script", "json")
        try:
            response: web.StreamResponse = await getattr(self, f"_{script}")(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response

    async def _json(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        usage = {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
        return web.json_response({"type": "message", "model": "claude-x", "usage": usage})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send the start of a stream, wait, send the rest: only an unbuffered hop shows the start in between."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(
            _event({"type": "message_start", "message": {"model": "claude-x", "usage": {"input_tokens": 9}}})
        )
        await self.go_on.wait()
        await response.write(_event({"type": "message_delta", "usage": {"output_tokens": 4}}))
        await response.write(_event({"type": "message_stop"}))
        return response

    async def _push(self, request: web.Request) -> web.StreamResponse:
        """Send 64 MiB as fast as the reader takes them."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(1024):
            await response.write(b"x" * 65536)
            self.pushed += 65536
        return response

    async def _break(self, request: web.Request) -> web.StreamResponse:
        """Begin a response and drop the connection."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(
            _event({"type": "message_start", "message": {"model": "claude-x", "usage": {"input_tokens": 9}}})
        )
        assert request.transport is not None
        request.transport.close()
        return response

    async def _drop(self, request: web.Request) -> web.StreamResponse:
        """Drop the connection once the request is read, before any response."""
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _hang(self, request: web.Request) -> web.StreamResponse:
        await self.go_on.wait()
        return web.Response()

    async def _overloaded(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"type": "error"}, status=529, headers={"Retry-After": "7", "Set-Cookie": "a=b"})


def _event(body: dict[str, Any]) -> bytes:
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


@asynccontextmanager
async def serving(app: web.Application, path: Path) -> AsyncIterator[None]:
    """Serve on a unix socket."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()


@dataclass
class World:
    """One gateway in this process, and its model API."""

    settings: Settings
    model: ModelApi
    gateway: Gateway
    state: State
    clients: dict[Path, aiohttp.ClientSession] = field(default_factory=dict)
    deadlines: Deadlines = field(default_factory=Deadlines)

    async def register(self, session_id: str = SESSION, generation: int = 1, **more: Any) -> Path:
        """Register a sandbox; return its socket."""
        key = sandbox_key(session_id, generation)
        await self.gateway.register(key, Registration(session_id=session_id, generation=generation, **more))
        return self.settings.folder / key / MODEL_SOCKET

    def post(self, socket: Path, path: str = "/v1/messages", **more: Any) -> Any:
        """Call the gateway as a sandbox does."""
        return self.client(socket).post(URL("http://gateway" + path, encoded=True), **{"data": b"{}", **more})

    def client(self, socket: Path) -> aiohttp.ClientSession:
        """Return the client of a socket."""
        if socket not in self.clients:
            connector = aiohttp.UnixConnector(str(socket), force_close=True)
            self.clients[socket] = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))
        return self.clients[socket]

    async def restart(self) -> None:
        """Close the gateway and open another one on the same folders, as after a restart of its process."""
        await self.gateway.close()
        self.state = State(self.settings.state_dir)
        self.gateway = Gateway(self.settings, self.state, self.deadlines)
        await self.gateway.open()


def script(name: str) -> dict[str, str]:
    """Return the header that selects what the model API does."""
    return {"X-Stainless-Script": name}
