"""`PortHttp` with aiohttp, over connections to sandboxes that are handed in."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from yarl import URL

from jelmore.ports import (
    PortClosedError,
    PortConnection,
    PortHandshakeError,
    PortRequest,
    PortResponse,
    PortSocket,
    PortSocketClosedError,
)
from jelmore.session.errors import CapacityError, DependencyError
from jelmore_protocol.sandbox_ports import MAX_FRAME_BYTES

ANSWER_S: Final = 900.0
"""Deadline of the head of a response: a dev server may compile first. As Caddy's own."""

HEAD_S: Final = 30.0
"""Deadline of the rest of a head, once its first byte has come."""

SEND_S: Final = 30.0
CLOSE_S: Final = 5.0
HEAD_BYTES: Final = 64 * 1024
"""The largest head, interim responses included."""

MAX_MESSAGE_BYTES: Final = 1024 * 1024
_LOST: Final = 1006
_AUTOMATIC: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_SWITCHING: Final = 101
_STATUSES: Final = range(200, 600)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUES: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class AiohttpPortHttp:
    """Requests and WebSockets to servers in sandboxes."""

    @asynccontextmanager
    async def request(self, connection: PortConnection, request: PortRequest) -> AsyncIterator[PortResponse]:
        """Send a request and yield its response. Raises CapacityError when this process has no descriptors left."""
        async with _Bridge.opened(connection) as bridge, _session(bridge) as session:
            with _mapped():
                async with bridge.head():
                    response = await session.request(
                        request.method,
                        URL("http://localhost" + request.target, encoded=True),
                        headers=[*request.headers, ("Connection", "close")],
                        data=request.body,
                        allow_redirects=False,
                    )
            async with response:
                _check(response.status, response.raw_headers)
                yield PortResponse(response.status, response.raw_headers, _body(response, bridge))

    @asynccontextmanager
    async def socket(
        self, connection: PortConnection, request: PortRequest, subprotocols: Sequence[str]
    ) -> AsyncIterator[PortSocket]:
        """Open a WebSocket."""
        async with _Bridge.opened(connection) as bridge, _session(bridge) as session:
            with _mapped():
                async with bridge.head():
                    websocket = await session.ws_connect(
                        URL("http://localhost" + request.target, encoded=True),
                        headers=list(request.headers),
                        protocols=subprotocols,
                        max_msg_size=MAX_MESSAGE_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                    )
            async with websocket:
                yield _Socket(websocket)


@dataclass(slots=True)
class _Bridge:
    """A socket of this process whose bytes pass to and from a connection. `broken`: it did not end in order.

    No more than `HEAD_BYTES` and one piece pass before the head of the response is read, so that no head is larger.
    """

    far: socket.socket
    broken: bool = False
    deadline: asyncio.Timeout | None = None  # of the head that is awaited
    head_read: asyncio.Event = field(default_factory=asyncio.Event)
    transport: asyncio.BaseTransport | None = None  # of `far`, once a request uses it

    @classmethod
    @asynccontextmanager
    async def opened(cls, connection: PortConnection) -> AsyncIterator["_Bridge"]:
        near, far = _socket_pair()
        bridge = cls(far)
        reader, writer = await asyncio.open_connection(sock=near, limit=MAX_FRAME_BYTES)
        tasks = [
            asyncio.create_task(_upward(connection, reader), name="bytes to a port"),
            asyncio.create_task(bridge._downward(connection, writer), name="bytes of a port"),
        ]
        try:
            yield bridge
        finally:
            writer.transport.abort()
            # Closing the socket under a transport that still has bytes to write would leave its number in the loop.
            if isinstance(bridge.transport, asyncio.WriteTransport):
                bridge.transport.abort()
            else:
                far.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def head(self) -> AsyncIterator[None]:
        """Wait for a head inside of this. Raises TimeoutError for one that begins or ends too late, or is too long."""
        try:
            async with asyncio.timeout(ANSWER_S) as self.deadline:
                yield
        finally:
            self.deadline = None
        self.head_read.set()

    async def _downward(self, connection: PortConnection, writer: asyncio.StreamWriter) -> None:
        passed = 0
        try:
            while True:
                piece = await connection.receive()
                if not passed and self.deadline is not None and not self.deadline.expired():
                    self.deadline.reschedule(asyncio.get_running_loop().time() + HEAD_S)
                passed += len(piece)
                writer.write(piece)
                await writer.drain()
                if passed >= HEAD_BYTES:
                    await self.head_read.wait()
        except PortClosedError as closed:
            self.broken = not closed.in_order
            writer.close()
        except OSError:
            self.broken = True


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    try:
        pair = socket.socketpair()
    except OSError as error:  # no more descriptors
        raise CapacityError(f"no connection to a port: {error.strerror}") from None
    for each in pair:
        each.setblocking(False)
    return pair


def _check(status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise DependencyError for a head that no server of ours can send on."""
    if status == _SWITCHING:
        raise DependencyError("port", "the server switched protocols without being asked")
    if status not in _STATUSES:
        raise DependencyError("port", f"the server sent the status {status}")
    for name, value in headers:
        if not _NAME.fullmatch(name) or _NOT_IN_VALUES.search(value):
            raise DependencyError("port", "the server sent a header with control characters")


async def _upward(connection: PortConnection, reader: asyncio.StreamReader) -> None:
    # Its end is not passed on: it is the end of this process's interest, and many servers take it for an abort.
    with suppress(PortClosedError, OSError):
        while piece := await reader.read(MAX_FRAME_BYTES):
            await connection.send(piece)


class _Connector(aiohttp.BaseConnector):
    """Has one connection, which exists already."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__(limit=1, force_close=True)
        self._bridge = bridge

    async def _create_connection(self, *_: Any, **__: Any) -> Any:
        self._bridge.transport, protocol = await self._loop.create_connection(self._factory, sock=self._bridge.far)
        return protocol


def _session(bridge: _Bridge) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(bridge),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_AUTOMATIC,
        read_bufsize=MAX_FRAME_BYTES,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
    )


async def _body(response: aiohttp.ClientResponse, bridge: _Bridge) -> AsyncGenerator[bytes]:
    with _mapped():
        while piece := await response.content.read(MAX_FRAME_BYTES):
            yield piece
    if bridge.broken:
        raise DependencyError("port", "the response broke off")


class _Socket:
    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket
        self.subprotocol = websocket.protocol

    async def receive(self) -> str | bytes:
        """Return the next message."""
        message = await self._websocket.receive()
        if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            content: str | bytes = message.data
            return content
        reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE and message.extra else ""
        raise PortSocketClosedError(self._websocket.close_code or _LOST, reason)

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        socket_ = self._websocket
        try:
            async with asyncio.timeout(SEND_S):
                await (socket_.send_str(message) if isinstance(message, str) else socket_.send_bytes(message))
        except (aiohttp.ClientError, OSError, ValueError):
            raise PortSocketClosedError(self._websocket.close_code or _LOST) from None


class _mapped:  # noqa: N801 - reads as a statement
    """Converts a refused handshake to PortHandshakeError, other errors of library and socket to DependencyError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in _STATUSES:
            raise PortHandshakeError(error.status) from None
        if isinstance(error, (aiohttp.ClientError, OSError, ValueError)):
            raise DependencyError("port", str(error) or type(error).__name__) from None
