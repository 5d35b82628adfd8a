"""The session's own URL: `/ws` for people and programs with a token, `/health` for nobody in particular.

Nothing about the session is sent before a token is verified. A refused browser can only see close codes, so a bad
token is answered by accepting and closing at once.
"""

import asyncio
import time
from typing import Final
from uuid import uuid4

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore_protocol import SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX
from jelmore_protocol.control import Init, InputRequest, PermissionAnswer
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
from jelmore_protocol.tokens import Audience, Claims, Scope, TokenError, verify
from jelmore_runner.connection import ClosedError, Connection
from jelmore_runner.errors import RefusedError
from jelmore_runner.hub import Subscriber
from jelmore_runner.runner import Runner
from jelmore_runner.serving import KNOWN_PEER_BYTES, UNKNOWN_PEER_BYTES

AUTH_DEADLINE_S: Final = 10.0
MAX_STRANGERS: Final = 50
"""Connections that have not said who they are; counted apart, or they would keep out those with a token."""

MAX_BAD_FRAMES: Final = 20


def create_public_app(runner: Runner) -> Starlette:
    """Return the ASGI application of the public socket."""

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def connect(websocket: WebSocket) -> None:
        await _serve(runner, websocket)

    return Starlette(routes=[Route("/health", health), WebSocketRoute("/ws", connect)])


async def _serve(runner: Runner, websocket: WebSocket) -> None:
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    connection = Connection(websocket, runner.settings.send_timeout_s)
    try:
        claims = None if _is_shut(runner) else await _authenticate(runner, connection)
        if _is_shut(runner):  # also if that came about while a token was awaited
            await connection.close(CloseCode.TRY_LATER)
        elif claims is not None:
            runner.public.add(connection)
            await _Client(runner, connection, claims).serve()
    except WebSocketDisconnect:
        return
    finally:
        runner.public.discard(connection)


def _is_shut(runner: Runner) -> bool:
    return runner.init is None or runner.quiet or len(runner.public) >= runner.settings.max_connections


async def _authenticate(runner: Runner, connection: Connection) -> Claims | None:
    """Return the claims of a good token; else close and return None."""
    token = _offered_token(connection.websocket)
    if token is None and runner.strangers >= MAX_STRANGERS:
        await connection.close(CloseCode.TRY_LATER)
        return None
    try:
        return check_token(runner, await _first_token(runner, connection) if token is None else token)
    except TimeoutError:
        await connection.close(CloseCode.AUTH_TIMEOUT)
    except TokenError as error:
        await connection.close(CloseCode.FORBIDDEN if error.forbidden else CloseCode.UNAUTHENTICATED)
    except (BadFrameError, KeyError):  # Starlette raises KeyError for a binary frame
        await connection.close(CloseCode.UNAUTHENTICATED)
    return None


async def _first_token(runner: Runner, connection: Connection) -> str:
    """Return the token of the first frame. Raises TokenError, TimeoutError and what a bad frame raises."""
    runner.strangers += 1
    try:
        async with asyncio.timeout(AUTH_DEADLINE_S):
            frame = decode_client_frame(await connection.websocket.receive_text())
    finally:
        runner.strangers -= 1
    if not isinstance(frame, AuthFrame):
        raise TokenError("the first frame must be auth")
    return frame.token


def check_token(runner: Runner, token: str) -> Claims:
    """Return the claims of a token that may read this session. Raises TokenError."""
    if runner.init is None:
        raise TokenError("there is no session yet")
    try:
        claims = _verified(runner.init, token)
    except (jwt.PyJWTError, TypeError):  # the key itself is bad: nothing can be verified
        raise TokenError("the token is not valid") from None
    if Scope.READ not in claims.scopes:
        raise TokenError("the token does not allow reading", forbidden=True)
    if claims.subject in runner.revoked:
        raise TokenError("the API key that this token was made with was revoked")
    return claims


def _verified(init: Init, token: str) -> Claims:
    return verify(token, init.token_public_key, session_id=init.session_id, audience=Audience.SESSION)


def _offered_token(websocket: WebSocket) -> str | None:
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for entry in websocket.scope.get("subprotocols", []):
        if entry.startswith(TOKEN_SUBPROTOCOL_PREFIX):
            return str(entry).removeprefix(TOKEN_SUBPROTOCOL_PREFIX)
    return None


class _Client:
    """An authenticated connection."""

    def __init__(self, runner: Runner, connection: Connection, claims: Claims) -> None:
        self._runner = runner
        self._connection = connection
        self._claims = claims
        self._bad_frames = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._subscriber: Subscriber | None = None

    async def serve(self) -> None:
        """Serve until either side ends."""
        self._trust()
        try:
            subscriber = await self._runner.open_stream(self._connection, after_of(self._connection.websocket), None)
            if subscriber is not None:
                self._subscriber = subscriber
                await self._connection.pump(self._runner.hub, subscriber, self._receive, self._runner.close_code)
        except ClosedError:
            return
        finally:
            if self._expiry is not None:
                self._expiry.cancel()

    def _trust(self) -> None:
        """Apply what the token allows: a reader has nothing long to say, and decoding 64 MiB takes three times that."""
        self._connection.subject = self._claims.subject
        self._connection.trust(KNOWN_PEER_BYTES if Scope.WRITE in self._claims.scopes else UNKNOWN_PEER_BYTES)
        self._end_at_expiry()

    def _end_at_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        loop = asyncio.get_running_loop()
        left_s = max(0.0, self._claims.expires_at - time.time())
        self._expiry = loop.call_later(min(left_s, 7 * 86_400), self._expired)

    def _expired(self) -> None:
        if time.time() < self._claims.expires_at:
            self._end_at_expiry()
        else:
            self._connection.end(CloseCode.UNAUTHENTICATED)

    async def _receive(self) -> None:
        while True:
            message = await self._connection.websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise ClosedError
            reply = await self._reply(message.get("text"))
            if reply is not None:
                await self._connection.send(reply.model_dump_json())
            if self._bad_frames >= MAX_BAD_FRAMES:
                self._connection.end(CloseCode.BAD_FRAME)
                return

    async def _reply(self, text: str | None) -> AckFrame | ErrorFrame | PongFrame | None:
        try:
            frame = decode_client_frame("" if text is None else text)
        except BadFrameError as error:
            self._bad_frames += 1
            words = "a frame is text, not binary" if text is None else str(error)
            return ErrorFrame(code=ErrorCode.BAD_FRAME, message=words)
        try:
            return await self._obey(frame)
        except RefusedError as error:
            return ErrorFrame(code=error.code, message=str(error), id=frame.id)

    async def _obey(self, frame: AnyClientFrame) -> AckFrame | ErrorFrame | PongFrame:
        match frame:
            case PingFrame():
                return PongFrame(id=frame.id)
            case SubscribeFrame():
                if self._subscriber is not None:
                    self._subscriber.wants_deltas = frame.deltas
                return AckFrame(id=frame.id)
            case AuthFrame():
                return self._renew(frame)
            case InputFrame() | InterruptFrame() | PermissionFrame():
                if Scope.WRITE not in self._claims.scopes:
                    raise RefusedError(ErrorCode.FORBIDDEN, "the token does not allow writing")
                return AckFrame(id=frame.id, seq=await self._write(frame))

    def _renew(self, frame: AuthFrame) -> AckFrame:
        """A fresh token on an open connection moves its end, and what the connection may do."""
        try:
            self._claims = check_token(self._runner, frame.token)
        except TokenError as error:
            raise RefusedError(ErrorCode.FORBIDDEN, str(error)) from None
        self._trust()
        return AckFrame(id=frame.id)

    async def _write(self, frame: InputFrame | InterruptFrame | PermissionFrame) -> int | None:
        if self._runner.quiet:  # this connection is being closed
            raise RefusedError(ErrorCode.UNAVAILABLE, "the session is going to sleep; connect again")
        by = self._claims.subject
        session = self._runner.live_session()
        match frame:
            case InputFrame():
                if not frame.input:
                    raise RefusedError(ErrorCode.INPUT_EMPTY, "the input is empty")
                return await session.accept(InputRequest(id=frame.id or str(uuid4()), input=frame.input, by=by))
            case InterruptFrame():
                await self._runner.interrupt()
                return None
            case PermissionFrame():
                answer = PermissionAnswer(
                    decision=frame.decision,
                    message=frame.message,
                    answers=frame.answers,
                    updated_input=frame.updated_input,
                    by=by,
                )
                return await session.answer(frame.request_id, answer)


def after_of(websocket: WebSocket) -> int | None:
    """Return the `after` of a URL; nonsense counts as absent."""
    text = websocket.query_params.get("after", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004
