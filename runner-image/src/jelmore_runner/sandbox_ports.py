"""Connections of the manager's clients to TCP ports of the sandbox, over WebSockets of the control socket.

Bytes only: nothing of what passes is read here. A port that the agent does not listen on is refused as one on which
nothing listens.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from jelmore_protocol import control
from jelmore_protocol.bounds import MAX_NAME_CHARACTERS
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.sandbox_ports import END, MAX_CONNECTIONS, MAX_FRAME_BYTES, MAX_PORT
from jelmore_protocol.websocket_server import Admission, Client, ClosedError, CloseError, Connection, Item, pump
from jelmore_runner.listening_sockets import are_agents, listening_sockets, target_of
from jelmore_runner.settings import Settings

CONNECT_S: Final = 10.0
WRITE_S: Final = 30.0
"""A server that reads nothing for this long loses the connection."""

IN_USE_S: Final = 600.0
"""Bytes of a client keep the session awake for this long, as keys in a terminal do."""


class PortRefusedError(Exception):
    """No connection to this port. `status` is the one of the response to the handshake."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class SandboxPorts:
    """The connections to ports of one runner."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = 0
        self._used_at = -IN_USE_S

    def in_use(self) -> int:
        """Return 1 while somebody uses a port, else 0."""
        return int(time.monotonic() - self._used_at < IN_USE_S)

    async def serve(self, websocket: WebSocket, clients: set[Client], *, is_open: bool) -> None:
        """Connect the WebSocket to the port in its path until either side closes. `clients` are ended with a pause.

        Without `is_open` it is refused: there is no session yet, or it is being paused.
        """
        try:
            with self._counted(is_open=is_open):
                reader, writer = await self._connected(websocket.path_params["port"])
                try:
                    await self._pass(websocket, reader, writer, clients)
                finally:
                    writer.transport.abort()
        except PortRefusedError as error:
            refusal = control.Refusal(code=error.code, message=str(error))
            await websocket.send_denial_response(JSONResponse(refusal.model_dump(), error.status))

    @contextmanager
    def _counted(self, *, is_open: bool) -> Iterator[None]:
        if not is_open:
            raise PortRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "the session is not ready")
        if self._open >= MAX_CONNECTIONS:
            words = f"{MAX_CONNECTIONS} connections to ports of the session are open"
            raise PortRefusedError(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", words)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def _connected(self, text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT)) else 0
        target = target_of(await asyncio.to_thread(listening_sockets), port) if 0 < port <= MAX_PORT else None
        own_user = self._settings.as_agent is not None
        if target is None or not await asyncio.to_thread(are_agents, target.sockets, has_own_user=own_user):
            raise PortRefusedError(
                HTTPStatus.NOT_FOUND, "unknown_request", f"nothing of the session listens on port {text[:8]}"
            )
        for host in target.hosts:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(host, port, limit=MAX_FRAME_BYTES)
        raise PortRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", f"port {port} takes no connection")

    async def _pass(
        self,
        websocket: WebSocket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        clients: set[Client],
    ) -> None:
        await websocket.accept()
        connection = Connection(websocket, self._settings.send_timeout_s)
        connection.limit_frames(MAX_FRAME_BYTES)
        writer.transport.set_write_buffer_limits(MAX_FRAME_BYTES)
        subject = websocket.query_params.get("subject", "")[:MAX_NAME_CHARACTERS]
        client = Client(Admission(subject, can_write=True), None)
        clients.add(client)
        try:
            await pump(connection, _read(reader), client, self._write(connection, writer))
        except CloseError as close:
            await connection.close(close.code)
        except ClosedError:
            return
        finally:
            clients.discard(client)

    async def _write(self, connection: Connection, writer: asyncio.StreamWriter) -> None:
        """Write what the client sends. Returns only by an error. Raises CloseError for bytes after `END`."""
        ended = False
        try:
            while True:
                frame = await connection.receive_any()
                self._used_at = time.monotonic()
                if isinstance(frame, bytes):
                    if ended:
                        raise CloseError(CloseCode.BAD_FRAME)
                    writer.write(frame)
                    async with asyncio.timeout(WRITE_S):
                        await writer.drain()
                elif frame == END:
                    ended = True
                    writer.write_eof()
        except (OSError, TimeoutError):
            raise CloseError(CloseCode.GOING_AWAY) from None


async def _read(reader: asyncio.StreamReader) -> AsyncGenerator[Item]:
    """Yield what the server sends, in frames. Raises CloseError: 1000 at its end, 1001 when it breaks off."""
    try:
        while piece := await reader.read(MAX_FRAME_BYTES):
            yield Item("", data=piece)
    except OSError:
        raise CloseError(CloseCode.GOING_AWAY) from None
    raise CloseError(CloseCode.ENDED)
