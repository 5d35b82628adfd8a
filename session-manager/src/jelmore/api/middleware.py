"""The outermost middleware: request ids, the log line and metrics of each request, and the response to a bug.

Plain ASGI, because Starlette's `BaseHTTPMiddleware` interferes with streaming responses.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jelmore.api.audit_entries import audit_entry
from jelmore.api.early_responses import RequestBody
from jelmore.api.metrics import Metrics
from jelmore.api.problems import stopping, unexpected
from jelmore.control.tasks import was_asked_to_end
from jelmore.ports.operator import AuditEntry
from jelmore_protocol.tracing import HEADER, Kind, NoTracing, Span, Tracing, checked

_log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_INTERNAL_ERROR: Final = 1011
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_QUIET: Final = frozenset({"livez", "readyz", "health", "metrics"})
"""Operations that machines call every few seconds. Their successful requests are not logged."""


@dataclass(slots=True)
class _Answer:
    """The state of a response while it is sent."""

    status: int = 0
    streamed: bool = False
    ended_at: float = 0.0  # when an early response was whole


class Outermost:
    """Gives each request an id, logs and counts it, and answers an unexpected exception with a problem."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        note: Callable[[AuditEntry], None] = lambda _: None,
        tracing: Tracing | None = None,
    ) -> None:
        self.app = app
        self._tracing = tracing or NoTracing()
        self._metrics = metrics
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "http" and self._tracing.on:
            await self._serve_traced(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve_traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request as a span below the caller's. An event stream counts until it begins."""
        parent = checked(Headers(scope=scope).get(HEADER))
        with self._tracing.span("HTTP", Kind.SERVER, {"http.request.method": scope["method"]}, parent) as span:

            async def noting_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._describe(span, scope, message["status"])
                    if Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream"):
                        span.end()
                await send(message)

            await self._serve(scope, receive, noting_send)

    @staticmethod
    def _describe(span: Span, scope: Scope, status: int) -> None:
        operation = operation_of(scope)
        if operation in _QUIET and status < HTTPStatus.BAD_REQUEST:
            span.drop()
        span.name(f"{scope['method']} {operation}")
        span.set(http__route=operation, http__response__status_code=status)
        span.set(jelmore__request_id=scope["state"]["request_id"])
        if session_id := scope.get("path_params", {}).get("session_id"):
            span.set(jelmore__session_id=str(session_id))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.fail(str(status))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        answer, body = _Answer(), RequestBody(scope, receive)

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                _add_headers(message, scope, request_id)
                if not await body.is_out_of_the_way():
                    MutableHeaders(raw=message["headers"])["Connection"] = "close"
                content_type = Headers(raw=message["headers"]).get("content-type", "")
                answer.streamed = content_type.startswith("text/event-stream")
            elif message["type"] == "http.response.body" and body.left and not message.get("more_body", False):
                await send({**message, "more_body": True})
                answer.ended_at = time.perf_counter()
                await body.linger()
                message = {"type": "http.response.body"}
            elif message["type"] == "websocket.accept":
                answer.status = HTTPStatus.SWITCHING_PROTOCOLS.value
            elif message["type"] == "websocket.http.response.start":
                answer.status = message["status"]
                _add_headers(message, scope, request_id)
            await send(message)

        try:
            await self.app(scope, body.receive, noting_send)
        except asyncio.CancelledError:
            if not was_asked_to_end():  # it leaked from another task
                raise
            # The server stops, and the task of the request ends here: passed on, it would become a traceback.
            if scope["type"] == "http" and not answer.status:
                await stopping(Request(scope))(scope, receive, noting_send)
            # Else the server closes the connection, and the client sees that the response is not whole.
        except Exception as error:  # noqa: BLE001 - the last place that can still answer
            _log.error("request_failed", code="internal", error=repr(error), exc_info=error)
            await _respond_to_bug(scope, receive, noting_send, started=bool(answer.status))
        finally:
            self._report(scope, answer, (answer.ended_at or time.perf_counter()) - began)

    def _report(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        operation = operation_of(scope)
        method = scope.get("method", "WEBSOCKET")
        timed = None if answer.streamed or scope["type"] == "websocket" else seconds
        self._metrics.answered(method, operation, answer.status, timed)
        if method in _CHANGING and "caller" in scope["state"]:
            self._note(audit_entry(scope, scope["state"]["caller"], operation, str(answer.status)))
        if operation in _QUIET and answer.status < HTTPStatus.BAD_REQUEST:
            return
        _log.info(
            "request",
            method=method,
            path=scope["path"],  # without the query, where a client may have put a secret by mistake
            operation=operation,
            status=answer.status,
            duration_ms=round(seconds * 1000, 1),
            caller=scope["state"].get("caller_id"),
        )


async def _respond_to_bug(scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
    """Respond to an unexpected exception, unless a response has started."""
    if scope["type"] == "websocket":
        with suppress(RuntimeError, OSError):  # already closed
            await send({"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": "something went wrong"})
    elif not started:
        await unexpected(Request(scope))(scope, receive, send)


def operation_of(scope: Scope) -> str:
    """Return the name of the handler that served the request. As a metric label, it has a bounded number of values."""
    endpoint = scope.get("endpoint")
    return str(getattr(endpoint, "__name__", "none"))


def _request_id(headers: Headers) -> str:
    """Return the client's `X-Request-ID` when it is safe to log, else a new id."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else secrets.token_hex(16)


def _add_headers(message: Message, scope: Scope, request_id: str) -> None:
    headers = MutableHeaders(raw=message["headers"])
    headers["X-Request-ID"] = request_id
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Cache-Control", "no-store")
    for name, value in scope["state"].get("answer_headers", {}).items():
        headers[name] = value
