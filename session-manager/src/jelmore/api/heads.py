"""Answers HEAD and OPTIONS on every path: HEAD as GET without its body, OPTIONS with the methods of the path."""

from typing import Final

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class HeadAsGet:
    """Serves HEAD as GET without the body. A stream ends after its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        started = ended = False

        async def without_body(message: Message) -> None:
            nonlocal started, ended
            started = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            if ended or message["type"] != "http.response.body":
                await send({**message, "body": b""} if ended else message)

        async def gone() -> Message:
            return {"type": "http.disconnect"}  # so that a stream, which has no end of its own, ends at once

        asked = {**scope, "method": "GET", "head": True}  # a copy: the server still needs to see HEAD, to omit the body
        try:
            await self.app(asked, gone if scope["path"].endswith("/stream") else receive, without_body)
            if started and not ended:
                await send({"type": "http.response.body", "body": b""})
        finally:
            scope["endpoint"] = asked.get("endpoint")  # for the log line and the metrics


class OptionsAsAllow:
    """Answers OPTIONS with 204 and the methods of the path in `Allow`; an unknown path answers as to any method."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        allowed = _allowed(scope) if scope["type"] == "http" and scope["method"] == "OPTIONS" else []
        if not allowed:
            await self.app(scope, receive, send)
            return
        value = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])
        await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", value.encode())]})
        await send({"type": "http.response.body", "body": b""})


def _allowed(scope: Scope) -> list[str]:
    """Return the methods that a route of the application has for this path."""
    routes = scope["app"].router.routes
    return [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
