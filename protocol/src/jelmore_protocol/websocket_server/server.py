"""Serves one WebSocket: authenticates, then runs a sender, a receiver and a credential check until one ends."""

import asyncio
import re
from collections.abc import AsyncGenerator, Container, Coroutine
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore_protocol import SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX
from jelmore_protocol.first_of import first_of
from jelmore_protocol.frames import (
    AckFrame,
    AnyClientFrame,
    AuthFrame,
    BadFrameError,
    CancelInputFrame,
    ChangeInputFrame,
    CloseCode,
    ErrorCode,
    ErrorFrame,
    InputFrame,
    InterruptFrame,
    PermissionFrame,
    PingFrame,
    PongFrame,
    SubscribeFrame,
)
from jelmore_protocol.websocket_server.backend import (
    Backend,
    Client,
    CloseError,
    ConnectionPolicy,
    FrameRefusedError,
    Item,
)
from jelmore_protocol.websocket_server.connection import ClosedError, Connection
from jelmore_protocol.websocket_server.limits import READER_FRAME_BYTES, WRITER_FRAME_BYTES, TooManyError

MAX_BAD_FRAMES: Final = 20
MAX_AFTER: Final = 2**62
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_MAX_SHOWN: Final = 64


async def serve(websocket: WebSocket, backend: Backend, parameters: Container[str] = ()) -> None:
    """Serve until either side closes the connection. Nothing is sent before the credential is verified.

    `parameters` are those of the URL that the backend reads itself, besides `after`.
    """
    connection = await accept(websocket, backend)
    try:
        client = await authenticated(connection, backend)
        with backend.counted(client):
            client.after = await _after(connection, parameters)
            await _Session(connection, backend, client).serve()
    except (CloseError, TooManyError) as close:
        await connection.close(close.code)
    except (ClosedError, WebSocketDisconnect):
        return


async def accept(websocket: WebSocket, backend: ConnectionPolicy) -> Connection:
    """Accept the connection, with our subprotocol if it was offered."""
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    return Connection(websocket, backend.limits.send_timeout_s)


async def authenticated(connection: Connection, backend: ConnectionPolicy) -> Client:
    """Return the client, known by a credential of the handshake or in the first frame. Raises CloseError."""
    backend.check_open()
    credential = offered_credential(connection.websocket)
    if credential is None:
        credential = await _first_token(connection, backend)
    admission = await backend.authenticate(credential)
    backend.check_open()  # again, because draining may have started while it waited for a token
    return Client(admission, None)


async def _first_token(connection: Connection, backend: ConnectionPolicy) -> str:
    """Return the token of the first frame. Raises CloseError when that is no `auth` frame, or comes too late."""
    limits = backend.limits
    if limits.unauthenticated >= limits.max_unauthenticated:
        raise CloseError(CloseCode.TRY_LATER)
    limits.unauthenticated += 1
    try:
        async with asyncio.timeout(limits.auth_timeout_s):
            frame = await limits.decode(await connection.receive() or "")
    except TimeoutError:
        raise CloseError(CloseCode.AUTH_TIMEOUT) from None
    except BadFrameError:
        raise CloseError(CloseCode.UNAUTHENTICATED) from None
    finally:
        limits.unauthenticated -= 1
    if not isinstance(frame, AuthFrame):
        raise CloseError(CloseCode.UNAUTHENTICATED)
    return frame.token


def offered_credential(websocket: WebSocket) -> str | None:
    """Return the key or token in a header or a subprotocol; None when there is none."""
    key = websocket.headers.get("x-api-key", "").strip()
    if key:
        return key
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for entry in websocket.scope.get("subprotocols", []):
        if str(entry).startswith(TOKEN_SUBPROTOCOL_PREFIX):
            return str(entry).removeprefix(TOKEN_SUBPROTOCOL_PREFIX)
    return None


async def _after(connection: Connection, parameters: Container[str]) -> int | None:
    """Return the `after` of the URL. Other parameters are refused by name, as in the REST API. Raises ClosedError."""
    try:
        return read_after(connection.websocket.query_params, parameters)
    except ValueError as error:
        await connection.send(ErrorFrame(code=ErrorCode.BAD_FRAME, message=str(error)).model_dump_json())
        await connection.close(CloseCode.BAD_FRAME, str(error))
        raise ClosedError from None


def read_after(given: QueryParams, others: Container[str] = ()) -> int | None:
    """Return the `after` of a query string that has no more than `others` besides it. Raises ValueError by name."""
    for name in given:
        if name != "after" and name not in others:
            shown = re.sub(r"\s", "_", name.encode("utf-8", "replace").decode()[:_MAX_SHOWN]) or "''"
            raise ValueError(f"{shown}: is not a parameter of this request; it has: after")
    values = given.getlist("after")
    if not values:
        return None
    if len(values) > 1:
        raise ValueError("after: is given more than once")
    if not _DIGITS.fullmatch(values[0]) or int(values[0]) > MAX_AFTER:
        raise ValueError(f"after: must be a whole number from 0 to {MAX_AFTER} in plain digits")
    return int(values[0])


class _Session:
    """An authenticated connection."""

    def __init__(self, connection: Connection, backend: Backend, client: Client) -> None:
        self._connection = connection
        self._backend = backend
        self._client = client
        self._bad_frames = 0
        self._limit()

    async def serve(self) -> None:
        """Serve until either side closes the connection. Raises CloseError or ClosedError."""
        items = self._backend.stream(self._client)
        await pump(self._connection, items, self._client, self._receive_all(), self._backend.stay(self._client))

    def _limit(self) -> None:
        can_write = self._client.admission.can_write
        self._connection.limit_frames(WRITER_FRAME_BYTES if can_write else READER_FRAME_BYTES)

    async def _receive_all(self) -> None:
        while True:
            text = await self._connection.receive()
            admission = self._client.admission
            size = len(text or "") + 64  # 64: the overhead of a frame
            wait_s = self._backend.limits.wait_s(admission.subject, size, can_write=admission.can_write)
            if wait_s:
                await asyncio.sleep(wait_s)
            reply = await self._reply(text)
            await self._connection.send(reply.model_dump_json())
            if self._bad_frames >= MAX_BAD_FRAMES:
                raise CloseError(CloseCode.BAD_FRAME)

    async def _reply(self, text: str | None) -> AckFrame | ErrorFrame | PongFrame:
        try:
            frame = await self._backend.limits.decode(text or "")
        except BadFrameError as error:
            self._bad_frames += 1
            message = "a frame is text, not binary" if text is None else str(error)
            return ErrorFrame(code=ErrorCode.BAD_FRAME, message=message)
        try:
            return await self._execute(frame)
        except FrameRefusedError as error:
            return ErrorFrame(code=error.code, message=str(error), id=frame.id)

    async def _execute(self, frame: AnyClientFrame) -> AckFrame | PongFrame:
        client, backend = self._client, self._backend
        match frame:
            case PingFrame():
                return PongFrame(id=frame.id)
            case SubscribeFrame():
                client.wants_deltas = frame.deltas
                return AckFrame(id=frame.id)
            case AuthFrame():
                await self._renew(frame.token)
                return AckFrame(id=frame.id)
            case _ if not client.admission.can_write:
                raise FrameRefusedError(ErrorCode.FORBIDDEN, "this key or token does not allow writing")
            case InputFrame():
                if not frame.text.strip():
                    raise FrameRefusedError(ErrorCode.INPUT_EMPTY, "input: must not be empty")
                return AckFrame(id=frame.id, seq=await backend.input(client, frame))
            case ChangeInputFrame():
                if not frame.input.strip():
                    raise FrameRefusedError(ErrorCode.INPUT_EMPTY, "input: must not be empty")
                return AckFrame(id=frame.id, seq=await backend.change_input(client, frame))
            case CancelInputFrame():
                return AckFrame(id=frame.id, seq=await backend.cancel_input(client, frame))
            case InterruptFrame():
                await backend.interrupt(client)
                return AckFrame(id=frame.id)
            case PermissionFrame():
                return AckFrame(id=frame.id, seq=await backend.answer(client, frame))

    async def _renew(self, credential: str) -> None:
        """Replace the credential, with its expiry and scopes. Raises FrameRefusedError; the old one then stays."""
        try:
            self._client.admission = await self._backend.authenticate(credential)
        except CloseError as error:
            raise FrameRefusedError(ErrorCode.FORBIDDEN, str(error)) from None
        self._client.renewed.set()
        self._limit()


async def pump(
    connection: Connection,
    items: AsyncGenerator[Item],
    client: Client,
    receiver: Coroutine[Any, Any, None],
    stay: Coroutine[Any, Any, Any] | None = None,
) -> None:
    """Send `items` while `receiver` and `stay` run. When one ends, the others are cancelled and its error is raised."""
    parts = {"sender": _send_all(connection, items, client), "receiver": receiver, "end": _until_ended(client)}
    if stay is not None:
        parts["credential"] = stay
    await first_of("websocket", parts, _rank)


def _rank(failure: BaseException) -> int:
    """Rank errors that occur together: an unexpected error first, then CloseError, then ClosedError."""
    return 2 if isinstance(failure, ClosedError) else 1 if isinstance(failure, CloseError) else 0


async def _send_all(connection: Connection, items: AsyncGenerator[Item], client: Client) -> None:
    try:
        async for item in items:
            if not item.is_delta or client.wants_deltas:
                await connection.send(item.text if item.data is None else item.data)
    finally:
        await items.aclose()
    raise CloseError(CloseCode.GOING_AWAY)


async def _until_ended(client: Client) -> None:
    await client.ending.wait()
    raise CloseError(client.close_code or CloseCode.GOING_AWAY)
