"""Responses of a manager that is starting: it listens at once to answer probes, and serves requests when ready."""

import asyncio
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from jelmore.api import problems
from jelmore.api.system import PROBE_PATHS
from jelmore_protocol.frames import CloseCode

_PATIENCE_S: Final = 3.0
"""Longer than the start of a manager that was killed, shorter than the time after which Caddy asks another (6 s)."""


class StartGate:
    """Lets everything but probes wait until `ready` is set, for 3 s; then refuses it with 503.

    A request that came a moment too early then costs its caller that moment, and no second attempt.
    """

    def __init__(self, app: ASGIApp, ready: asyncio.Event) -> None:
        self.app = app
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan" or scope["path"] in PROBE_PATHS or await self._is_ready():
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

    async def _is_ready(self) -> bool:
        if self._ready.is_set():
            return True
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True
