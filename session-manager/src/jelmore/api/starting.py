"""Responses of a manager that is starting: it listens at once to answer probes, and serves requests when ready."""

from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from jelmore.api import problems
from jelmore.api.system import PROBE_PATHS
from jelmore_protocol.frames import CloseCode


class StartGate:
    """Refuses everything but probes with 503 until `ready` returns true. Caddy then tries another manager."""

    def __init__(self, app: ASGIApp, ready: Callable[[], bool]) -> None:
        self.app = app
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan" or scope["path"] in PROBE_PATHS or self._ready():
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            websocket = WebSocket(scope, receive, send)
            await websocket.accept()
            await websocket.close(CloseCode.TRY_LATER, "the session manager is starting")
        else:
            title, detail = "A part of the system is away", "the session manager is starting"
            problem = problems.make(HTTPConnection(scope), 503, "dependency_away", title, detail)
            headers = {"Retry-After": "1", "Connection": "close"}
            await problems.respond(problem.model_copy(update={"retryable": True}), headers)(scope, receive, send)
