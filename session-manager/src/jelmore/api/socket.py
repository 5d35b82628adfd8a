"""A session's WebSocket as the manager serves it: for API clients, and on the session's own URL while it sleeps.

The frames are the runner's (`jelmore_protocol.frames`), with `state` frames beside them. Two tasks serve a connection:
one pulls from the live stream and sends, one receives and obeys; whichever ends first ends both.
"""

import asyncio
from typing import Final
from uuid import UUID

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore.api.auth import note
from jelmore.api.closing import WORDS, close_code_of, error_code_of
from jelmore.api.services import Context
from jelmore.api.serving import KNOWN_PEER_BYTES, protocol_of
from jelmore.api.stream_auth import Admit, StreamCaller, stay
from jelmore.session.errors import ForbiddenError, JelmoreError, UnknownSessionError
from jelmore.session.record import Session
from jelmore_protocol import SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX
from jelmore_protocol.control import PermissionAnswer
from jelmore_protocol.frames import (
    AckFrame,
    AnyClientFrame,
    AuthFrame,
    BadFrameError,
    CloseCode,
    ErrorCode,
    ErrorFrame,
    InputFrame,
    InterruptFrame,
    PermissionFrame,
    PingFrame,
    PongFrame,
    SubscribeFrame,
    decode_client_frame,
)

_log = structlog.get_logger(__name__)

MAX_BAD_FRAMES: Final = 20
_MOST_CURSOR_DIGITS: Final = 18


class _ClosedError(Exception):
    """The connection is over, or has to be closed with `code`."""

    def __init__(self, code: CloseCode | None = None) -> None:
        super().__init__(code)
        self.code = code


async def serve_socket(websocket: WebSocket, context: Context, session_id: UUID, admit: Admit) -> None:
    """Serve one WebSocket until either side ends. Nothing is sent before the credential was found good."""
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    connection = _Connection(websocket, context.config.send_timeout_s)
    try:
        stream_caller = await _enter(connection, context, admit)
        session = await context.services.sessions.get(stream_caller.caller, session_id)
        connection.trust()
        with context.metrics.streams.labels("websocket").track_inprogress():
            await _Client(connection, context, session, admit, stream_caller).serve(after_of(websocket))
    except _ClosedError as closed:
        if closed.code is not None:
            await connection.close(closed.code)
    except JelmoreError as error:
        await connection.close(close_code_of(error))
    except WebSocketDisconnect:
        return


async def _enter(connection: "_Connection", context: Context, admit: Admit) -> StreamCaller:
    websocket = connection.websocket
    given = offered_credential(websocket)
    if given is None:
        try:
            async with asyncio.timeout(context.config.auth_timeout_s):
                given = await connection.first_token()
        except TimeoutError:
            raise _ClosedError(CloseCode.AUTH_TIMEOUT) from None
    stream_caller = await admit(given)
    note(context, websocket, stream_caller.caller)
    return stream_caller


def offered_credential(websocket: WebSocket) -> str | None:
    """Return the key or token in a header or a subprotocol entry."""
    key = websocket.headers.get("x-api-key")
    if key:
        return key.strip()
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for entry in websocket.scope.get("subprotocols", []):
        if str(entry).startswith(TOKEN_SUBPROTOCOL_PREFIX):
            return str(entry).removeprefix(TOKEN_SUBPROTOCOL_PREFIX)
    return None


def after_of(websocket: WebSocket) -> int | None:
    """Return the `after` of a URL; nonsense counts as absent, as at the runner."""
    text = websocket.query_params.get("after", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_CURSOR_DIGITS else None


class _Connection:
    """Sends with a deadline and closes once."""

    def __init__(self, websocket: WebSocket, send_timeout_s: float) -> None:
        self.websocket = websocket
        self._send_timeout_s = send_timeout_s

    def trust(self) -> None:
        """Allow larger frames, now that the peer is known."""
        protocol = protocol_of(self.websocket.scope)
        if protocol is not None:
            protocol.limit_frames(KNOWN_PEER_BYTES)

    async def first_token(self) -> str:
        """Return the token of the first frame. Raises _ClosedError for every other frame."""
        text = await self.receive()
        try:
            frame = decode_client_frame(text or "")
        except BadFrameError:
            raise _ClosedError(CloseCode.UNAUTHENTICATED) from None
        if not isinstance(frame, AuthFrame):
            raise _ClosedError(CloseCode.UNAUTHENTICATED)
        return frame.token

    async def receive(self) -> str | None:
        """Return the text of the next frame; None for a binary one. Raises _ClosedError when the peer has gone."""
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise _ClosedError
        text = message.get("text")
        return None if text is None else str(text)

    async def send(self, text: str) -> None:
        """Send a frame. Raises _ClosedError; a peer that does not read is cut off."""
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self.websocket.send({"type": "websocket.send", "text": text})
        except TimeoutError:
            protocol = protocol_of(self.websocket.scope)
            if protocol is None:
                raise _ClosedError(CloseCode.TOO_SLOW) from None
            protocol.cut_off(CloseCode.TOO_SLOW, WORDS[CloseCode.TOO_SLOW])
            raise _ClosedError from None
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise _ClosedError from None

    async def close(self, code: CloseCode) -> None:
        """Close with a code and its words; closed already is success, and a peer that does not read is cut off."""
        words = WORDS.get(code, "")
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self.websocket.close(code, words)
        except TimeoutError:
            protocol = protocol_of(self.websocket.scope)
            if protocol is not None:
                protocol.cut_off(code, words)
        except (WebSocketDisconnect, RuntimeError, OSError):
            return


class _Client:
    """An authenticated connection."""

    def __init__(
        self, connection: _Connection, context: Context, session: Session, admit: Admit, stream_caller: StreamCaller
    ) -> None:
        self._connection = connection
        self._context = context
        self._session = session
        self._admit = admit
        self._entrant = stream_caller
        self._bad_frames = 0
        self._wants_deltas = True

    async def serve(self, after: int | None) -> None:
        """Serve until either side ends. Raises _ClosedError with the code to close with, and JelmoreError."""
        name = f"websocket {self._session.id}"
        sender = asyncio.create_task(self._send_all(after), name=f"{name} sender")
        receiver = asyncio.create_task(self._receive_all(), name=f"{name} receiver")
        stays = stay(
            lambda: self._entrant, self._admit, self._context.services.access, self._context.config.readmit_every_s
        )
        admission = asyncio.create_task(stays, name=f"{name} admission")
        tasks = {sender, receiver, admission}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        failures = [task.exception() for task in (sender, receiver, admission) if not task.cancelled()]
        for failure in sorted(filter(None, failures), key=lambda each: isinstance(each, _ClosedError)):
            raise failure

    async def _send_all(self, after: int | None) -> None:
        items = self._context.services.streams.follow(self._session, after)
        try:
            async for item in items:
                if item.kind == "end":  # told by the state and the `exited` event before, and by the close code
                    raise _ClosedError(CloseCode.ENDED)
                if item.kind != "delta" or self._wants_deltas:
                    await self._connection.send(item.text)
        finally:
            await items.aclose()  # type: ignore[attr-defined]  # an async generator, typed by what readers need
        raise _ClosedError(CloseCode.GOING_AWAY)

    async def _receive_all(self) -> None:
        while True:
            reply = await self._reply(await self._connection.receive())
            await self._connection.send(reply.model_dump_json())
            if self._bad_frames >= MAX_BAD_FRAMES:
                raise _ClosedError(CloseCode.BAD_FRAME)

    async def _reply(self, text: str | None) -> AckFrame | ErrorFrame | PongFrame:
        try:
            frame = decode_client_frame(text or "")
        except BadFrameError as error:
            self._bad_frames += 1
            words = "a frame is text, not binary" if text is None else str(error)
            return ErrorFrame(code=ErrorCode.BAD_FRAME, message=words)
        try:
            return await self._obey(frame)
        except JelmoreError as error:
            code = error_code_of(error)
            if code is None:
                _log.error("frame_failed", code=error.code, error=str(error), exc_info=error)
                return ErrorFrame(code=ErrorCode.UNAVAILABLE, message="something went wrong on our side", id=frame.id)
            return ErrorFrame(code=code, message=str(error), id=frame.id)

    async def _obey(self, frame: AnyClientFrame) -> AckFrame | PongFrame:
        sessions, caller, session_id = self._context.services.sessions, self._entrant.caller, self._session.id
        match frame:
            case PingFrame():
                return PongFrame(id=frame.id)
            case SubscribeFrame():
                self._wants_deltas = frame.deltas
                return AckFrame(id=frame.id)
            case AuthFrame():
                self._entrant = await self._admit_again(frame.token)
                return AckFrame(id=frame.id)
            case InputFrame():
                accepted = await sessions.input(caller, session_id, frame.input, input_id=frame.id or None, wait_s=None)
                return AckFrame(id=frame.id, seq=accepted.seq)
            case InterruptFrame():
                await sessions.interrupt(caller, session_id)
                return AckFrame(id=frame.id)
            case PermissionFrame():
                answer = PermissionAnswer(
                    decision=frame.decision,
                    message=frame.message,
                    answers=frame.answers,
                    updated_input=frame.updated_input,
                )
                return AckFrame(id=frame.id, seq=await sessions.answer(caller, session_id, frame.request_id, answer))

    async def _admit_again(self, credential: str) -> StreamCaller:
        """Return who goes on reading. Raises UnauthenticatedError, ForbiddenError, also for who may not see this."""
        stream_caller = await self._admit(credential)
        try:
            await self._context.services.sessions.get(stream_caller.caller, self._session.id)
        except UnknownSessionError:
            raise ForbiddenError("this key or token opens something else") from None
        return stream_caller
