"""Asks the registered MCP servers whether they answer, so that an admin sees it before an agent misses their tools.

Only the server's first message is sent, with the credential of the deployment where the route has one; the conversation
that a server opens for it is closed again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from yarl import URL

from jelmore_gateway.refusals import RefusedError
from jelmore_gateway.state import now
from jelmore_protocol.gateway import GatewayConfig, Route, ServerState

PROBE_EVERY_S: Final = 60.0
CHECK_INTERVAL_S: Final = 1.0
DEADLINE_S: Final = 10.0
MAX_AT_ONCE: Final = 8
MAX_CHARACTERS: Final = 300
EVENT_STREAM: Final = "text/event-stream"

INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "jelmore-gateway", "version": "1"},
    },
}

type Opened = tuple[aiohttp.ClientSession, list[tuple[str, str]]]


class RouteProbes:
    """What the MCP servers of the present configuration answered last. `run` is its task.

    `prepare` returns the client and the headers for a route. It raises RefusedError for one that may not be called.
    """

    def __init__(self, config: Callable[[], GatewayConfig], prepare: Callable[[Route], Awaitable[Opened]]) -> None:
        self._config = config
        self._prepare = prepare
        self._found: dict[str, ServerState] = {}

    def found(self) -> list[ServerState]:
        """Return the states of the servers that are still registered, by name."""
        names = {route.name for route in self._config().routes}
        return [self._found[name] for name in sorted(self._found) if name in names]

    async def run(self) -> None:
        """Probe at the start, when the configuration has changed, and each minute, until cancelled."""
        loop = asyncio.get_running_loop()
        probed, due = "", 0.0
        while True:
            digest = self._config().digest
            if digest != probed or loop.time() >= due:
                await self.once()
                probed, due = digest, loop.time() + PROBE_EVERY_S
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def once(self) -> None:
        """Probe every MCP server. What a server does is a state, never an error."""
        limit = asyncio.Semaphore(MAX_AT_ONCE)
        routes = [route for route in self._config().routes if route.name.startswith("mcp/")]

        async def probe(route: Route) -> ServerState:
            async with limit:
                return await self._probe(route, now())

        states = await asyncio.gather(*(probe(route) for route in routes))
        self._found = {state.name: state for state in states}

    async def _probe(self, route: Route, at: datetime) -> ServerState:
        problem = await _described(lambda: self._ask(route))
        return ServerState(name=route.name, ok=not problem, problem=problem[:MAX_CHARACTERS], at=at)

    async def _ask(self, route: Route) -> str:
        """Return what is wrong with a server's answer, nothing if it is right."""
        client, headers = await self._prepare(route)
        url = URL(route.url, encoded=True)
        accepted = [*headers, ("Accept", f"application/json, {EVENT_STREAM}")]
        more: dict[str, Any] = {"allow_redirects": False, "timeout": aiohttp.ClientTimeout(total=DEADLINE_S)}
        if route.transport == "sse":
            async with client.get(url, headers=[*headers, ("Accept", EVENT_STREAM)], **more) as response:
                status, is_stream = response.status, response.content_type == EVENT_STREAM
                response.close()
            return _verdict(route, status) or ("" if is_stream else "it sends no event stream")
        async with client.post(url, json=INITIALIZE, headers=accepted, **more) as response:
            status, opened = response.status, response.headers.get("Mcp-Session-Id")
            response.close()  # an event stream has no end
        if opened is not None:
            async with client.delete(url, headers=[*accepted, ("Mcp-Session-Id", opened)], **more):
                pass
        return _verdict(route, status)


def _verdict(route: Route, status: int) -> str:
    """Return what a status says is wrong, nothing for a good one."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"it refuses the deployment's credential ({status})" if route.credential else f"it needs one ({status})"
    return "" if status == HTTPStatus.OK else f"it answers {status}"


async def _described(ask: Callable[[], Awaitable[str]]) -> str:
    try:
        return await ask()
    except RefusedError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {DEADLINE_S:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return str(error) or type(error).__name__
