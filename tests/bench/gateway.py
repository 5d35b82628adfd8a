"""What the gateway adds to a call of the model, beside a direct connection and beside Caddy as a reverse proxy."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from jelmore.drivers.gateway_link import GatewayLink
from jelmore.embedded.caddy import Caddy
from jelmore.session.errors import DependencyError
from jelmore_protocol.gateway import MODEL_SOCKET, Registration, sandbox_key
from tests.bench.table import Row
from tests.bench.world import World

_SESSION: Final = "0198c0de-0000-7000-8000-{:012}"
_REQUESTS_PER_RUN: Final = 30
_PIECES: Final = 100
_PAUSE_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Way:
    """A process between client and model: its id, and where its clients connect."""

    pid: int
    sockets: list[Path]

    @property
    def socket(self) -> Path:
        """The only socket, or the first."""
        return self.sockets[0]


async def gateway(world: World) -> list[Row]:
    """Measure a request on a connection of its own, and each piece of a stream, on three ways."""
    folder = Path(tempfile.mkdtemp(prefix="jb-"))
    try:
        async with _model(folder / "api.sock"), gateway_before(folder, 1) as through, caddy_before(folder) as caddy:
            ways = {"gateway": through.socket, "direct": folder / "api.sock", "Caddy": caddy.socket}
            requests: dict[str, list[float]] = {name: [] for name in ways}
            pieces: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(world.runs):  # in turn, so that the machine's load is the same for all
                for name, socket in ways.items():
                    requests[name] += [await _request(socket) for _ in range(_REQUESTS_PER_RUN)]
                    pieces[name] += await _stream(socket)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Row(f"gateway: {what}", "ms", samples["gateway"], samples[beside], beside)
        for what, samples in (("a request with a short response", requests), ("a piece of a stream", pieces))
        for beside in ("direct", "Caddy")
    ]


async def _request(socket: Path) -> float:
    """Return how long a request takes, in ms, with its connection."""
    began = time.perf_counter()
    async with _client(socket) as client, client.post("http://model/v1/messages", data=b"{}") as response:
        await response.read()
        assert response.status == 200
    return (time.perf_counter() - began) * 1000


async def _stream(socket: Path) -> list[float]:
    """Return how long each piece of a stream takes from its writing to its reading, in ms."""
    took = []
    headers = {"X-Stainless-Script": "stream"}
    async with _client(socket) as client, client.post("http://model/v1/messages", headers=headers) as response:
        async for line in response.content:
            now = time.perf_counter()
            if line.startswith(b"data: "):
                sent: float = json.loads(line.removeprefix(b"data: "))["at"]
                took.append((now - sent) * 1000)
    assert len(took) == _PIECES
    return took


def _client(socket: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket), force_close=True))


async def _answer(request: web.Request) -> web.StreamResponse:
    await request.read()
    if request.headers.get("X-Stainless-Script") != "stream":
        usage = {"input_tokens": 7, "output_tokens": 5}
        return web.json_response({"type": "message", "model": "claude-x", "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(_PIECES):
        await response.write(b"data: " + json.dumps({"at": time.perf_counter()}).encode() + b"\n\n")
        await asyncio.sleep(_PAUSE_S)
    return response


@asynccontextmanager
async def _model(socket: Path) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/v1/messages", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def gateway_before(folder: Path, sessions: int) -> AsyncIterator[Way]:
    """A gateway before the model at `api.sock` in a folder, with so many registered sessions."""
    environment = {
        "PATH": os.environ["PATH"],
        "JELMORE_RUN_DIR": str(folder),
        "JELMORE_GATEWAY_STATE_DIR": str(folder / "state"),
        "ANTHROPIC_BASE_URL": f"unix:{folder}/api.sock",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jelmore_gateway", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        link = GatewayLink(folder / "gateway" / "control.sock")
        sockets = [await _register(link, folder, _SESSION.format(number)) for number in range(sessions)]
        yield Way(process.pid, sockets)
    finally:
        process.terminate()
        await process.wait()


async def _register(link: GatewayLink, folder: Path, session_id: str) -> Path:
    key = sandbox_key(session_id, 1)
    async with asyncio.timeout(20):
        while True:
            try:
                await link.register(key, Registration(session_id=session_id, generation=1))
                return folder / "gateway" / key / MODEL_SOCKET
            except DependencyError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def caddy_before(folder: Path) -> AsyncIterator[Way]:
    """Caddy as a reverse proxy before the model at `api.sock` in a folder."""
    socket = folder / "caddy.sock"
    proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"unix/{folder}/api.sock"}], "flush_interval": -1}
    server: dict[str, Any] = {"listen": [f"unix/{socket}|0600"], "routes": [{"handle": [proxy]}]}
    async with Caddy(folder / "caddy", folder / "admin") as caddy:
        config = {"admin": {"listen": caddy.admin_listen}, "apps": {"http": {"servers": {"proxy": server}}}}
        async with _client(caddy.admin) as admin, admin.post("http://localhost/config/", json=config) as response:
            assert response.status == 200, await response.text()
        assert caddy.pid is not None
        yield Way(caddy.pid, [socket])
