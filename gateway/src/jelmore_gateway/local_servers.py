"""Carries calls of sandboxes to stdio MCP servers, which another process runs (`jelmore_gateway.stdio`).

Which servers there are, that process says: its operator's file does, and no call of the API. The credentials of a
server go with the call that starts its process, and only then.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from aiohttp import web
from pydantic import ValidationError
from yarl import URL

from jelmore_gateway.forward import Call, Deadlines, forward
from jelmore_gateway.named_routes import Target, find_credential, mcp_call, route_headers
from jelmore_gateway.oauth import OAuthError
from jelmore_gateway.refusals import RefusedError, unavailable
from jelmore_gateway.route_credentials import RouteCredentials
from jelmore_gateway.route_observers import McpAudit
from jelmore_gateway.state import State, now
from jelmore_gateway.vault import VaultError
from jelmore_gateway.whole_bodies import WholeBodies
from jelmore_protocol.gateway import (
    LOCAL_CREDENTIALS_HEADER,
    GatewayConfig,
    LocalServer,
    LocalServers,
    Route,
    SandboxEntry,
    ServerState,
)

_log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
CHECK_INTERVAL_S: Final = 5.0
DEADLINE_S: Final = 5.0
MAX_ENDED: Final = 10_000
"""Sandboxes whose end is not sent yet. Above it, servers end when they are idle."""


class _HostAudit(McpAudit):
    """Records a call, and keeps what the process's HTTP server itself says from the sandbox.

    That text may repeat a part of the request, which holds more than the sandbox has sent. What the process says on
    purpose is JSON.
    """

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Take the status. Raises RefusedError for an error that is no JSON."""
        super().begin(response)
        if response.status >= HTTPStatus.BAD_REQUEST and response.content_type != "application/json":
            _log.warning("mcp_host_refused", route=self.target.route.name, status=response.status)
            raise unavailable(f"the process that runs {self.target.route.name} answers {response.status}")


class LocalServerCalls:
    """The stdio servers, and the calls to them. `run` is its task: it asks which there are, and sends ends."""

    def __init__(
        self,
        socket: Path,
        config: Callable[[], GatewayConfig],
        credentials: RouteCredentials,
        state: State,
        deadlines: Deadlines,
        bodies: WholeBodies,
    ) -> None:
        self._socket = socket
        self._config = config
        self._credentials = credentials
        self._state = state
        self._deadlines = deadlines
        self._bodies = bodies
        self._ended: set[str] = set()
        self._wake = asyncio.Event()
        self.servers: tuple[LocalServer, ...] = ()

    def find(self, name: str | None) -> LocalServer | None:
        """Return the server of that name, unless a registered route has it."""
        if name is None or any(route.name == name for route in self._config().routes):
            return None
        return next((each for each in self.servers if each.name == name), None)

    def states(self) -> list[ServerState]:
        """Return whether each server's command is there."""
        return [
            ServerState(name=each.name, ok=not each.problem, problem=each.problem, at=now()) for each in self.servers
        ]

    def end(self, sandbox: str) -> None:
        """End the processes of a sandbox. Returns at once; `run` sends it. May run any number of times."""
        if self.servers and len(self._ended) < MAX_ENDED:
            self._ended.add(sandbox)
            self._wake.set()

    async def run(self) -> None:
        """Ask which servers there are and send ends, until cancelled. A process that is away is asked again."""
        connector = aiohttp.UnixConnector(str(self._socket), limit=4)
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            while True:
                self._wake.clear()
                await self.once(client)
                try:
                    async with asyncio.timeout(CHECK_INTERVAL_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def once(self, client: aiohttp.ClientSession) -> None:
        """Do so once. Never raises."""
        if not self._socket.is_socket():
            self.servers, self._ended = (), set()
            return
        try:
            async with client.get("http://host/servers") as response:
                self.servers = tuple(LocalServers.model_validate_json(await response.read()).servers)
            for sandbox in tuple(self._ended):
                async with client.delete(f"http://host/{sandbox}"):
                    self._ended.discard(sandbox)
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError) as error:
            _log.warning("mcp_host_away", error=str(error) or type(error).__name__)
            self.servers = tuple(
                each.model_copy(update={"problem": "its process does not answer"}) for each in self.servers
            )

    async def carry(self, entry: SandboxEntry, server: LocalServer, request: web.BaseRequest) -> web.StreamResponse:
        """Carry one call. Raises RefusedError when nothing was sent to the sandbox yet."""
        if not server.serves(entry.user_id, entry.profile) or request.raw_path.partition("?")[0] != f"/{server.name}":
            raise RefusedError(404, "not_found_error", f"there is no route {request.raw_path.partition('?')[0]}")
        url = f"http://host/{entry.key}/{server.name.partition('/')[2]}"
        target = Target(Route(name=server.name, url=url), url)
        starts = request.method == "POST" and "Mcp-Session-Id" not in request.headers
        variables = await self._variables(server, entry) if starts else {}
        environment = json.dumps(variables).encode() if variables else b""
        headers = route_headers(request.headers.items(), target.route, None)
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        call = Call(URL(url), kept, server.name, MAX_BODY_BYTES)
        call = call.with_header((LOCAL_CREDENTIALS_HEADER, str(len(environment))))
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        async with (
            self._bodies.read(request, entry.key, MAX_BODY_BYTES) as body,
            aiohttp.ClientSession(connector=connector, auto_decompress=False) as client,
        ):
            audit = _HostAudit(target, entry, self._state, mcp_call(body), request.method)
            return await forward(request, call, client, self._deadlines, audit, body=environment + body)

    async def _variables(self, server: LocalServer, entry: SandboxEntry) -> Mapping[str, str]:
        """Return the variables with the credentials of a server. Raises RefusedError."""
        found = {}
        for variable, name in server.credentials.items():
            sealed = find_credential(name, entry, self._config().credentials)
            if sealed is None:
                raise RefusedError(403, "permission_error", f"{server.name} needs the credential {name!r}: not set")
            try:
                found[variable] = await self._credentials.open(sealed)
            except VaultError as error:
                _log.error("credential_not_opened", route=server.name, error=str(error))
                raise unavailable(f"the credential of {server.name} cannot be opened") from None
            except OAuthError as error:
                raise unavailable(f"there is no access token for {server.name}: {error}") from None
        return found
