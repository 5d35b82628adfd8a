"""Serves the WebSocket of a terminal: authenticates, waits for `open`, then passes bytes and frames both ways."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore_protocol.frames import (
    AuthFrame,
    BadFrameError,
    CloseCode,
    ErrorCode,
    ErrorFrame,
    PingFrame,
    PongFrame,
)
from jelmore_protocol.terminal import (
    MAX_COMMAND_CHARACTERS,
    MAX_TYPED_BYTES,
    Command,
    OpenFrame,
    decode_terminal_frame,
)
from jelmore_protocol.websocket_server.backend import Client, CloseError, ConnectionPolicy, FrameRefusedError, Item
from jelmore_protocol.websocket_server.connection import ClosedError, Connection
from jelmore_protocol.websocket_server.limits import TooManyError
from jelmore_protocol.websocket_server.server import MAX_BAD_FRAMES, accept, authenticated, pump

FRAME_BYTES: Final = max(MAX_TYPED_BYTES, 6 * MAX_COMMAND_CHARACTERS) + 16 * 1024
"""The largest frame of a client: the bytes of one paste, or an `open` with the longest command, escaped."""

CLOSES: Final = {
    ErrorCode.FORBIDDEN: CloseCode.FORBIDDEN,
    ErrorCode.QUEUE_FULL: CloseCode.TRY_LATER,
    ErrorCode.UNAVAILABLE: CloseCode.TRY_LATER,
    ErrorCode.ENDED: CloseCode.ENDED,
}
"""How a refused `open` closes the connection, after an `error` frame; other refusals close with 1008."""


class TerminalConnection(Protocol):
    """One client's connection to a terminal. `typed` and `execute` raise FrameRefusedError."""

    def output(self) -> AsyncGenerator[Item]:
        """Yield `opened`, then bytes and frames. Ends with CloseError."""

    async def typed(self, data: bytes) -> None:
        """Write bytes to the terminal. Returns when there is room for more."""

    async def execute(self, frame: Command) -> None:
        """Execute a command frame."""


class TerminalBackend(ConnectionPolicy, Protocol):
    """Access to the terminals of one session."""

    def attach(self, client: Client, opening: OpenFrame) -> AbstractAsyncContextManager[TerminalConnection]:
        """Attach the client; start the terminal if it does not run. Raises FrameRefusedError or CloseError."""


async def serve_terminal(websocket: WebSocket, backend: TerminalBackend) -> None:
    """Serve until either side closes the connection. Nothing is sent before the credential is verified."""
    connection = await accept(websocket, backend)
    try:
        client = await authenticated(connection, backend)
        await _serve_client(connection, backend, client)
    except (CloseError, TooManyError) as close:
        await connection.close(close.code)
    except (ClosedError, WebSocketDisconnect):
        return


async def serve_trusted(websocket: WebSocket, backend: TerminalBackend, client: Client) -> None:
    """Serve a connection whose client was authenticated by the caller."""
    await websocket.accept()
    connection = Connection(websocket, backend.limits.send_timeout_s)
    try:
        backend.check_open()
        await _serve_client(connection, backend, client)
    except (CloseError, TooManyError) as close:
        await connection.close(close.code)
    except (ClosedError, WebSocketDisconnect):
        return


async def _serve_client(connection: Connection, backend: TerminalBackend, client: Client) -> None:
    with backend.counted(client):
        connection.limit_frames(FRAME_BYTES)
        try:
            opening = await _opening(connection, backend)
            async with backend.attach(client, opening) as terminal:
                receiver = _Receiver(connection, backend, client, terminal)
                await pump(connection, terminal.output(), client, receiver.receive_all(), backend.stay(client))
        except FrameRefusedError as error:
            refusal = ErrorFrame(code=error.code, message=str(error))
            await connection.send(refusal.model_dump_json())
            raise CloseError(CLOSES.get(error.code, CloseCode.BAD_FRAME)) from None


async def _opening(connection: Connection, backend: TerminalBackend) -> OpenFrame:
    """Return the first frame. Raises CloseError when none comes in time, FrameRefusedError for another one."""
    try:
        async with asyncio.timeout(backend.limits.auth_timeout_s):
            content = await connection.receive_any()
    except TimeoutError:
        raise CloseError(CloseCode.AUTH_TIMEOUT) from None
    try:
        frame = decode_terminal_frame(content) if isinstance(content, str) else None
    except BadFrameError as error:
        raise FrameRefusedError(ErrorCode.BAD_FRAME, str(error)) from None
    if not isinstance(frame, OpenFrame):
        raise FrameRefusedError(ErrorCode.BAD_FRAME, "type: the first frame must be `open`")
    return frame


class _Receiver:
    def __init__(
        self, connection: Connection, backend: TerminalBackend, client: Client, terminal: TerminalConnection
    ) -> None:
        self._connection = connection
        self._backend = backend
        self._client = client
        self._terminal = terminal
        self._bad_frames = 0

    async def receive_all(self) -> None:
        """Pass frames on until the peer disconnects. Raises CloseError, ClosedError."""
        while True:
            content = await self._connection.receive_any()
            admission = self._client.admission
            limits, size = self._backend.limits, len(content) + 64  # 64: the overhead of a frame
            wait_s = limits.wait_s(admission.subject, size, can_write=admission.can_write)
            if wait_s:
                await asyncio.sleep(wait_s)
            frame_id = None
            try:
                if isinstance(content, bytes):
                    await self._type(content)
                    continue
                frame = decode_terminal_frame(content)
                frame_id = frame.id
                await self._execute(frame)
            except BadFrameError as error:
                await self._refuse(ErrorCode.BAD_FRAME, str(error), None)
            except FrameRefusedError as error:
                await self._refuse(error.code, str(error), frame_id)

    async def _type(self, data: bytes) -> None:
        self._check_write()
        if len(data) > MAX_TYPED_BYTES:
            raise FrameRefusedError(ErrorCode.INPUT_TOO_LARGE, f"a binary frame is at most {MAX_TYPED_BYTES} bytes")
        await self._terminal.typed(data)

    async def _execute(self, frame: OpenFrame | Command | AuthFrame | PingFrame) -> None:
        match frame:
            case PingFrame():
                await self._connection.send(PongFrame(id=frame.id).model_dump_json())
            case AuthFrame():
                self._client.admission = await self._backend.authenticate(frame.token)
                self._client.renewed.set()
            case OpenFrame():
                raise FrameRefusedError(ErrorCode.CONFLICT, "type: this connection has opened a terminal already")
            case _:
                self._check_write()
                await self._terminal.execute(frame)

    def _check_write(self) -> None:
        if not self._client.admission.can_write:
            raise FrameRefusedError(ErrorCode.FORBIDDEN, "this key or token does not allow writing")

    async def _refuse(self, code: ErrorCode, message: str, frame_id: str | None) -> None:
        await self._connection.send(ErrorFrame(code=code, message=message, id=frame_id).model_dump_json())
        self._bad_frames += code is ErrorCode.BAD_FRAME
        if self._bad_frames >= MAX_BAD_FRAMES:
            raise CloseError(CloseCode.BAD_FRAME)
