"""Serves the origins of ports. No request to one of them reaches the dashboard or the API, and the other way round."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from jelmore.api.early_responses import BODY_IN_USE, read_on
from jelmore.api.peers import client_address
from jelmore.api.port_headers import (
    COOKIE,
    SECURE_COOKIE,
    is_foreign,
    offered_grants,
    request_headers,
    response_headers,
    split_token,
)
from jelmore.api.port_names import PortName, PortNames
from jelmore.api.port_pages import HEADERS, page, page_of
from jelmore.api.port_websocket import pass_messages
from jelmore.api.services import Context
from jelmore.api.stream_auth import StreamCaller, stay
from jelmore.ports import PortConnection, PortHandshakeError, PortRequest
from jelmore.session.errors import CapacityError, DependencyError, JelmoreError, UnauthenticatedError
from jelmore_protocol.first_of import first_of
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.websocket_server import TooManyError

_log = structlog.get_logger(__name__)

PIECE_S: Final = 60.0
"""A client that sends nothing of its request's body for this long loses the connection."""

_REFUSED: Final = frozenset({"CONNECT", "TRACE"})
_SAFE: Final = frozenset({"GET", "HEAD"})


class PortGate:
    """Serves requests whose `Host` is the name of a port; all others pass to `app`."""

    def __init__(self, app: ASGIApp, context: Context, names: PortNames) -> None:
        self.app = app
        self._context = context
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        name = self._names.parse(Headers(scope=scope).get("host", "")) if scope["type"] != "lifespan" else None
        if name is None:
            await self.app(scope, receive, send)
            return
        scope["endpoint"] = self.port_origin  # the operation in logs and metrics
        await self.port_origin(_Exchange(scope, receive, send, name))

    async def port_origin(self, exchange: "_Exchange") -> None:
        """Answer with what the server in the sandbox answers, or with a page of our own."""
        try:
            response = await self._serve(exchange)
        except TooManyError:
            response = page_of(CapacityError("too many connections"), exchange.name.port)
        except JelmoreError as error:
            if isinstance(error, DependencyError):
                _log.info("port_failed", session_id=str(exchange.name.session_id), error=str(error))
            response = page_of(error, exchange.name.port)
        if response is not None:
            await exchange.answer(response)

    async def _serve(self, exchange: "_Exchange") -> Response | None:
        """Serve the exchange. Returns a response of our own, None once the server's was sent. Raises JelmoreError."""
        scope, name = exchange.scope, exchange.name
        if not scope["raw_path"].startswith(b"/"):
            return page(HTTPStatus.BAD_REQUEST, "Not possible", "Ask for a path.")
        token, query = split_token(scope["query_string"])
        if token is not None and scope.get("method") in _SAFE:
            _, expires_at = await self._context.services.access.port_grants.caller(token, name.session_id, name.port)
            return self._entered(exchange, token, query, expires_at)
        entered = await self._admitted(exchange)
        if is_foreign(scope["headers"], self._names, name, handshake=exchange.is_websocket):
            words = "Only the pages of this session may call its ports."
            return page(HTTPStatus.FORBIDDEN, "A page of another site asked for this", words)
        if scope.get("method") in _REFUSED:
            return page(HTTPStatus.METHOD_NOT_ALLOWED, "Not possible", "Ports do not take this method.")
        with self._context.stream_limits.port_counted(entered.caller.subject):
            ports = self._context.services.sandbox_ports
            connection = await ports.connect(entered.caller, name.session_id, name.port, wake=False)
            try:
                target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
                work = self._websocket if exchange.is_websocket else self._http
                parts = {"exchange": work(exchange, connection, target), "grant": self._stay(entered, name)}
                await first_of("port", parts)
            finally:
                await connection.close()
        return None

    def _entered(self, exchange: "_Exchange", token: str, query: str, expires_at: int) -> Response:
        """Return the response that exchanges a token in the URL for a cookie of this host, and cleans the URL."""
        path = exchange.scope["raw_path"].decode("latin-1")
        host = Headers(scope=exchange.scope)["host"].strip()  # a name of this port, with the number that was used
        clean = f"{self._names.scheme}://{host}{path}" + (f"?{query}" if query else "")
        response = RedirectResponse(clean, HTTPStatus.SEE_OTHER, HEADERS)
        secure = self._names.scheme == "https"
        response.set_cookie(
            SECURE_COOKIE if secure else COOKIE,
            token,
            max_age=max(0, expires_at - int(time.time())),
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",  # a link may be followed from anywhere
        )
        return response

    async def _admitted(self, exchange: "_Exchange") -> StreamCaller:
        """Return the caller of the grant in a cookie. Raises UnauthenticatedError without a valid one."""
        grants, name = self._context.services.access.port_grants, exchange.name
        for token in offered_grants(exchange.scope["headers"]):
            try:
                caller, expires_at = await grants.caller(token, name.session_id, name.port)
            except DependencyError:
                raise
            except JelmoreError:
                continue
            return StreamCaller(caller, token, expires_at)
        raise UnauthenticatedError("this port needs a link")

    async def _stay(self, entered: StreamCaller, name: PortName) -> None:
        """Raise UnauthenticatedError when the grant ends."""
        grants = self._context.services.access.port_grants

        async def admit(token: str | None) -> StreamCaller:
            found, expires_at = await grants.caller(token or "", name.session_id, name.port)
            return StreamCaller(found, token, expires_at)

        await stay(lambda: entered, admit, self._context.services.access, self._context.config.readmit_every_s)

    async def _http(self, exchange: "_Exchange", connection: PortConnection, target: str) -> None:
        headers = self._headers(exchange)
        body = exchange.body() if exchange.has_body else None
        request = PortRequest(exchange.scope["method"], target, headers, body)
        parts = {"response": self._respond(exchange, connection, request), "client": exchange.gone()}
        await first_of("port", parts)

    async def _respond(self, exchange: "_Exchange", connection: PortConnection, request: PortRequest) -> None:
        http = self._context.services.sandbox_ports.http
        async with http.request(connection, request) as response:
            sent = response_headers(response.headers, self._names, exchange.name)
            exchange.scope.setdefault("state", {})[BODY_IN_USE] = True  # the server may answer while it reads
            await exchange.send_message({"type": "http.response.start", "status": response.status, "headers": sent})
            async for piece in response.body:
                await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
            await exchange.read_on()
            await exchange.send({"type": "http.response.body", "body": b""})

    async def _websocket(self, exchange: "_Exchange", connection: PortConnection, target: str) -> None:
        websocket = WebSocket(exchange.scope, exchange.receive, exchange.send_message)
        request = PortRequest("GET", target, self._headers(exchange))
        offered = list(exchange.scope.get("subprotocols", ()))
        try:
            async with self._context.services.sandbox_ports.http.socket(connection, request, offered) as link:
                await pass_messages(websocket, link, self._context.config.send_timeout_s)
        except PortHandshakeError as error:
            await exchange.answer(page(error.status, "The server refused the WebSocket", ""))

    def _headers(self, exchange: "_Exchange") -> list[tuple[str, str]]:
        scope = exchange.scope
        address = client_address(scope)
        return request_headers(scope["headers"], self._names, exchange.name, address, handshake=exchange.is_websocket)


@dataclass(slots=True)
class _Exchange:
    """One request or WebSocket to the origin of a port."""

    scope: Scope
    receive: Receive
    send: Send
    name: PortName
    started: bool = False
    _read: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_websocket(self) -> bool:
        """Whether it is a WebSocket."""
        return bool(self.scope["type"] == "websocket")

    @property
    def has_body(self) -> bool:
        """Whether the request declares a body."""
        headers = Headers(scope=self.scope)
        return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    async def send_message(self, message: Message) -> None:
        """Send a message and note that the response has started."""
        self.started = True
        await self.send(message)

    async def answer(self, response: Response) -> None:
        """Send a response of our own, also instead of a handshake. An exchange that has started is broken off."""
        if self.started:
            if self.is_websocket:
                await self.send({"type": "websocket.close", "code": CloseCode.UNAUTHENTICATED.value})
            return
        self.started = True
        if self.is_websocket:
            await WebSocket(self.scope, self.receive, self.send).send_denial_response(response)
        else:
            await response(self.scope, self.receive, self.send)

    async def body(self) -> AsyncGenerator[bytes]:
        """Yield the body of the request. Raises ConnectionError when the client leaves or takes too long."""
        more = True
        while more:
            try:
                async with asyncio.timeout(PIECE_S):
                    message = await self._received()
            except TimeoutError:
                raise ConnectionError("the client sent nothing") from None
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client went away")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def read_on(self) -> None:
        """Discard what is unread of the request's body, within bounds. Nothing may use the body any more."""
        if self.has_body:
            await read_on(self._received, self._read.is_set)

    async def _received(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._read.set()
        return message

    async def gone(self) -> None:
        """Return when the client goes away, once its request was read."""
        if self.has_body:
            await self._read.wait()
        while (await self.receive())["type"] != "http.disconnect":
            pass
