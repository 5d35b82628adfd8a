"""Subscribers that note when each frame arrived, on every way on which output can be had."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import httpx
import redis.asyncio
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from jelmore_protocol.control import SECRET_HEADER
from tests.bench.world import World, path_of
from tests.support.stack_client import Frame

PATIENCE_S: Final = 60.0
_MAX_BYTES: Final = 64 * 1024 * 1024

type Received = tuple[float, Frame]
type Source = Callable[["Listener"], Coroutine[Any, Any, None]]


class Listener:
    """One subscriber: what it received, and when, by the clock that the runner dates events with."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.ready = asyncio.Event()
        self._moved = asyncio.Event()

    def record(self, text: str | bytes) -> None:
        """Note a frame that has arrived now."""
        at = time.time()
        self.received.append((at, json.loads(text)))
        self._moved.set()

    async def until(self, wanted: Callable[[Frame], bool], since: int = 0, seconds: float = PATIENCE_S) -> Received:
        """Return the first wanted frame from position `since` on. Raises TimeoutError."""
        try:
            async with asyncio.timeout(seconds):
                return await self._next(wanted, since)
        except TimeoutError:
            last = str(self.received[-1][1])[:200] if self.received else "nothing"
            raise TimeoutError(f"of {len(self.received)} frames none was it; the last: {last}") from None

    async def _next(self, wanted: Callable[[Frame], bool], position: int) -> Received:
        while True:
            while position < len(self.received):
                if wanted(self.received[position][1]):
                    return self.received[position]
                position += 1
            self._moved.clear()
            await self._moved.wait()

    def delays_ms(self, since: int = 0) -> list[float]:
        """Return how long each event of the agent's took from its date, which has whole milliseconds, to here."""
        return [
            (at - datetime.fromisoformat(frame["at"]).timestamp()) * 1000
            for at, frame in self.received[since:]
            if frame.get("type") == "event"
        ]


@asynccontextmanager
async def listening(*sources: Source) -> AsyncIterator[list[Listener]]:
    """Give a listener for each source, all of them connected."""
    listeners = [Listener() for _ in sources]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(source(each), name="listener") for source, each in zip(sources, listeners, strict=True)
        ]
        try:
            for listener in listeners:
                async with asyncio.timeout(PATIENCE_S):
                    await listener.ready.wait()
            yield listeners
        finally:
            for task in tasks:
                task.cancel()


def own_socket(created: Frame) -> Source:
    """The session's own URL, through Caddy, straight to the runner."""

    async def read(listener: Listener) -> None:
        async with through_caddy(created) as socket:
            await _read_socket(socket, listener)

    return read


def control_relay(world: World, created: Frame) -> Source:
    """What the manager itself reads: the runner's control socket, with nothing between."""

    async def read(listener: Listener) -> None:
        path = str(world.sockets(created["id"]) / "control.sock")
        async with unix_connect(
            path,
            uri="ws://runner/relay?after=0",
            additional_headers={SECRET_HEADER: world.secret(created["id"])},
            max_size=_MAX_BYTES,
            compression=None,
        ) as socket:
            await _read_socket(socket, listener)

    return read


def event_stream(world: World, created: Frame, after: int = 0) -> Source:
    """The manager's `/stream` as server-sent events."""

    async def read(listener: Listener) -> None:
        timeout = httpx.Timeout(PATIENCE_S, read=None)
        url = path_of(created, "/stream")
        async with world.api.http.stream("GET", url, params={"after": after}, timeout=timeout) as answer:
            answer.raise_for_status()
            listener.ready.set()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    listener.record(line[6:])

    return read


def manager_socket(world: World, created: Frame) -> Source:
    """The manager's `/stream` as a WebSocket."""

    async def read(listener: Listener) -> None:
        url = f"{world.stack.url}{path_of(created, '/stream')}?after=0".replace("http", "ws", 1)
        headers = {"X-API-Key": world.stack.api_key}
        async with connect(url, additional_headers=headers, max_size=_MAX_BYTES, proxy=None) as socket:
            await _read_socket(socket, listener)

    return read


def redis_stream(world: World, created: Frame) -> Source:
    """A Redis consumer: XREAD on the session's stream."""

    async def read(listener: Listener) -> None:
        async with redis_client(world) as client:
            key, last = f"session:{created['id']}:output", "0"
            listener.ready.set()
            while True:
                for _, entries in await client.xread({key: last}, block=5000, count=1000) or []:
                    for entry_id, fields in entries:
                        last = entry_id
                        listener.record(fields["t"])

    return read


@asynccontextmanager
async def redis_client(world: World) -> AsyncIterator[Any]:
    """Give a client of one connection that may wait for as long as it likes."""
    client = redis.asyncio.Redis.from_url(
        world.stack.redis_url(),
        decode_responses=True,
        protocol=2,
        socket_timeout=None,
        single_connection_client=True,
    )
    try:
        yield client
    finally:
        await client.aclose()


def through_caddy(created: Frame) -> connect:
    """Return a connection to the session's own URL."""
    return connect(
        f"{created['urls']['ws']}?after=0",
        subprotocols=["jelmore.v1"],  # type: ignore[list-item]  # a NewType of str
        additional_headers={"Authorization": f"Bearer {created['token']}"},
        max_size=_MAX_BYTES,
        proxy=None,
    )


def past_caddy(world: World, created: Frame) -> connect:
    """Return a connection to the runner's public socket itself."""
    return unix_connect(
        str(world.sockets(created["id"]) / "runner.sock"),
        uri="ws://runner/ws",
        subprotocols=["jelmore.v1"],
        additional_headers={"Authorization": f"Bearer {created['token']}"},
        max_size=_MAX_BYTES,
    )


async def _read_socket(socket: ClientConnection, listener: Listener) -> None:
    try:
        async for text in socket:
            listener.record(text)
            listener.ready.set()  # the first frame is `hello`
    except ConnectionClosed:
        return


class Prompter:
    """Gives prompts through a session's own URL and waits for what comes of them."""

    def __init__(self, socket: ClientConnection, listener: Listener) -> None:
        self._socket = socket
        self.listener = listener

    async def send(self, prompt: str) -> float:
        """Send a prompt; return when, by the clock of `Listener`."""
        at = time.time()
        await self._socket.send(json.dumps({"type": "input", "input": prompt}))
        return at


@asynccontextmanager
async def prompting(created: Frame) -> AsyncIterator[Prompter]:
    """Give a prompter whose own connection is a listener too."""
    socket = await through_caddy(created)
    listener = Listener()
    reader = asyncio.create_task(_read_socket(socket, listener), name="prompter's reader")
    try:
        async with asyncio.timeout(PATIENCE_S):
            await listener.ready.wait()
        yield Prompter(socket, listener)
    finally:
        await socket.close()
        await reader
