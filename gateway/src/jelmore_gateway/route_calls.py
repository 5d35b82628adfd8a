"""Carries calls on registered routes: MCP servers, git hosts and package registries, with their credentials."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from jelmore_gateway.credential_failures import FailureRecords
from jelmore_gateway.forward import MAX_BODY_BYTES, Call, Deadlines, forward
from jelmore_gateway.model_requests import declared_bytes
from jelmore_gateway.named_routes import (
    Target,
    find_credential,
    find_target,
    mcp_call,
    route_headers,
)
from jelmore_gateway.oauth import OAuthError
from jelmore_gateway.refusals import RefusedError, unavailable
from jelmore_gateway.route_credentials import RouteCredentials
from jelmore_gateway.route_observers import McpAudit, Redirects, SseAudit
from jelmore_gateway.server_clients import ServerClients
from jelmore_gateway.sse_transport import Endpoints
from jelmore_gateway.state import State
from jelmore_gateway.vault import VaultError
from jelmore_gateway.whole_bodies import WholeBodies
from jelmore_protocol.gateway import GatewayConfig, Route, SandboxEntry, SealedCredential

_log = structlog.get_logger(__name__)

MAX_READ_BYTES: Final = 1024 * 1024
"""Of an MCP message up to this size, the method and the tool are recorded. A larger one passes unread."""

MAX_UPLOAD_BYTES: Final = 4 * 1024**3
"""For git and package routes: a push can be large."""


class RouteCalls:
    """Carries calls on the routes of a configuration. `config` returns the present one."""

    def __init__(
        self,
        config: Callable[[], GatewayConfig],
        credentials: RouteCredentials,
        servers: ServerClients,
        state: State,
        deadlines: Deadlines,
        bodies: WholeBodies,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._servers = servers
        self._state = state
        self._deadlines = deadlines
        self._bodies = bodies
        self._failures = FailureRecords(state)
        self._endpoints = Endpoints()

    async def carry(
        self, entry: SandboxEntry, request: web.BaseRequest, on_status: Callable[[int], None] = lambda _: None
    ) -> web.StreamResponse:
        """Carry one call. Raises RefusedError when nothing was sent to the sandbox yet."""
        config = self._config()
        target = find_target(request.raw_path, config, entry)
        if target.route.transport == "sse":
            target = self._endpoints.resolve(entry.key, request.raw_path, target)
        client = self._client(target)
        sealed = self._sealed(target, entry, config)
        secret = await self._secret(target, entry, sealed)
        call = Call(
            url=URL(target.url, encoded=True),
            headers=route_headers(request.headers.items(), target.route, secret),
            name=target.route.name,
            max_body_bytes=MAX_BODY_BYTES if _is_mcp(target) else MAX_UPLOAD_BYTES,
            on_status=on_status,
            renewed=self._renewal(target, entry, sealed, secret),
        )
        if not _is_mcp(target):
            return await forward(request, call, client, self._deadlines, Redirects(target))
        async with self._body(entry, request) as body:
            audit = McpAudit(target, entry, self._state, mcp_call(body or b""), request.method)
            if target.route.transport == "sse" and request.method == "GET":
                call = call.with_header(("Accept-Encoding", "identity"))
                stream = SseAudit(audit, self._endpoints)
                return await forward(request, call, client, self._deadlines, stream, body=body)
            return await forward(request, call, client, self._deadlines, audit, body=body)

    async def prepare_probe(self, route: Route) -> tuple[aiohttp.ClientSession, list[tuple[str, str]]]:
        """Return the client and the headers to probe a server with. Raises RefusedError."""
        config, nobody = self._config(), SandboxEntry(key="", session_id="", generation=1)
        target = Target(route, route.url)
        client = self._client(target)
        sealed = find_credential(route.credential, nobody, config.credentials) if route.credential else None
        return client, route_headers([], route, await self._secret(target, nobody, sealed))

    def _body(self, entry: SandboxEntry, request: web.BaseRequest) -> AbstractAsyncContextManager[bytes | None]:
        """Return how the body of a small message is read whole; one that passes unread is None."""
        size = declared_bytes(request.headers)
        if size is None or size > MAX_READ_BYTES:
            return nullcontext()
        return self._bodies.read(request, entry.key, size)

    def _client(self, target: Target) -> aiohttp.ClientSession:
        """Return the client for a target. Raises RefusedError for an address that it may not have."""
        why = self._servers.denial(target.url, private=target.route.private)
        if why is not None:
            raise unavailable(f"{target.route.name} leads to an address that a route may not reach ({why})")
        return self._servers.client(private=target.route.private)

    def _sealed(self, target: Target, entry: SandboxEntry, config: GatewayConfig) -> SealedCredential | None:
        name = target.route.credential
        if not name:
            return None
        sealed = find_credential(name, entry, config.credentials)
        if sealed is None:
            raise RefusedError(403, "permission_error", f"{target.route.name} needs the credential {name!r}: not set")
        return sealed

    async def _secret(self, target: Target, entry: SandboxEntry, sealed: SealedCredential | None) -> str | None:
        """Return what goes into the header. Raises RefusedError."""
        if sealed is None:
            return None
        try:
            return await self._credentials.open(sealed)
        except VaultError as error:
            _log.error("credential_not_opened", route=target.route.name, error=str(error))
            raise unavailable(f"the credential of {target.route.name} cannot be opened") from None
        except OAuthError as error:
            await self._failures.add(entry, target.route.name, error.reason)
            raise unavailable(f"there is no access token for {target.route.name}: {error}") from None

    def _renewal(
        self, target: Target, entry: SandboxEntry, sealed: SealedCredential | None, secret: str | None
    ) -> Callable[[], Awaitable[tuple[str, str] | None]] | None:
        """Return how the header gets another access token after a 401, None for a credential that has no other."""
        if sealed is None or secret is None or sealed.kind != "oauth":
            return None
        route = target.route

        async def renewed() -> tuple[str, str] | None:
            token = await self._credentials.replace(sealed, secret)
            if token is None:
                await self._failures.add(entry, route.name, "token_refused")
            return None if token is None else (route.header, route.prefix + token)

        return renewed


def _is_mcp(target: Target) -> bool:
    return target.route.name.startswith("mcp/")
