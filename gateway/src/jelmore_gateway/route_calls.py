"""Carries calls on registered routes: MCP servers, git hosts and package registries, with their credentials."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from jelmore_gateway.addresses import GuardedResolver, denial
from jelmore_gateway.egress.resolver import OwnAddresses
from jelmore_gateway.forward import MAX_BODY_BYTES, Call, Deadlines, Observer, forward
from jelmore_gateway.model_requests import declared_bytes
from jelmore_gateway.named_routes import (
    Target,
    find_credential,
    find_target,
    location_for,
    mcp_call,
    route_headers,
)
from jelmore_gateway.refusals import RefusedError, unavailable
from jelmore_gateway.state import State, StateError, now
from jelmore_gateway.vault import Vault, VaultError
from jelmore_protocol.gateway import CallRecord, GatewayConfig, Route, SandboxEntry

_log = structlog.get_logger(__name__)

MAX_READ_BYTES: Final = 1024 * 1024
"""Of an MCP message up to this size, the method and the tool are recorded. A larger one passes unread."""

MAX_UPLOAD_BYTES: Final = 4 * 1024**3
"""For git and package routes: a push can be large."""


class RouteCalls:
    """Carries calls on the routes of a configuration. `config` returns the present one."""

    def __init__(self, config: Callable[[], GatewayConfig], vault: Vault, state: State, deadlines: Deadlines) -> None:
        self._config = config
        self._vault = vault
        self._state = state
        self._deadlines = deadlines
        self._own = OwnAddresses()
        self._clients = {private: _client(private=private, own=self._own) for private in (False, True)}

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()

    async def carry(
        self, entry: SandboxEntry, request: web.BaseRequest, on_status: Callable[[int], None] = lambda _: None
    ) -> web.StreamResponse:
        """Carry one call. Raises RefusedError when nothing was sent to the sandbox yet."""
        config = self._config()
        target = find_target(request.raw_path, config, entry)
        self._check_literal(target)
        call = Call(
            url=URL(target.url, encoded=True),
            headers=route_headers(request.headers.items(), target.route, self._credential(target, entry, config)),
            name=target.route.name,
            max_body_bytes=MAX_BODY_BYTES if _is_mcp(target) else MAX_UPLOAD_BYTES,
            on_status=on_status,
        )
        client = self._clients[target.route.private]
        if not _is_mcp(target):
            return await forward(request, call, client, self._deadlines, _Redirects(target))
        body = await self._read(request)
        audit = _McpAudit(target, entry, self._state, mcp_call(body or b""), request.method)
        return await forward(request, call, client, self._deadlines, audit, body=body)

    def prepare_probe(self, route: Route) -> tuple[aiohttp.ClientSession, list[tuple[str, str]]]:
        """Return the client and the headers to probe a server with. Raises RefusedError."""
        config, nobody = self._config(), SandboxEntry(key="", session_id="", generation=1)
        target = Target(route, route.url)
        self._check_literal(target)
        known = route.credential and find_credential(route.credential, nobody, config.credentials) is not None
        return self._clients[route.private], route_headers(
            [], route, self._credential(target, nobody, config) if known else None
        )

    async def _read(self, request: web.BaseRequest) -> bytes | None:
        """Return the whole body of a small message, None for one that passes unread."""
        size = declared_bytes(request.headers)
        if size is None or size > MAX_READ_BYTES:
            return None
        try:
            async with asyncio.timeout(self._deadlines.upload_silence_s):
                return await request.content.readexactly(size) if size else b""
        except (TimeoutError, asyncio.IncompleteReadError):
            raise RefusedError(400, "invalid_request_error", "the body did not arrive whole") from None

    def _check_literal(self, target: Target) -> None:
        """Check a host that is an address: it needs no lookup, so the resolver does not see it."""
        host = urlsplit(target.url).hostname or ""
        if ":" in host or host.replace(".", "").isdigit():
            why = denial(host, private=target.route.private, own=self._own())
            if why is not None:
                raise unavailable(f"{target.route.name} leads to an address that a route may not reach ({why})")

    def _credential(self, target: Target, entry: SandboxEntry, config: GatewayConfig) -> str | None:
        name = target.route.credential
        if not name:
            return None
        sealed = find_credential(name, entry, config.credentials)
        if sealed is None:
            raise RefusedError(403, "permission_error", f"{target.route.name} needs the credential {name!r}: not set")
        try:
            return self._vault.open(sealed, sealed.sealed)
        except VaultError as error:
            _log.error("credential_not_opened", route=target.route.name, error=str(error))
            raise unavailable(f"the credential of {target.route.name} cannot be opened") from None


class _Redirects(Observer):
    """Keeps redirects on the route."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Refuse a redirect to another place."""
        self.headers(response)

    def headers(self, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        """Return the response's headers, with a redirect as a path on the route."""
        headers = CIMultiDict(response.headers)
        location = headers.get("Location")
        if location is not None and HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
            headers["Location"] = location_for(location, self._target)
        return headers


class _McpAudit(_Redirects):
    """Records a call to an MCP server: method and tool, no arguments."""

    def __init__(
        self, target: Target, entry: SandboxEntry, state: State, call: tuple[str, str], http_method: str
    ) -> None:
        super().__init__(target)
        self._entry = entry
        self._state = state
        self._call = call
        self._http_method = http_method
        self._status = 0

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Take the status."""
        super().begin(response)
        self._status = response.status

    async def end(self, *, complete: bool) -> None:
        """Store the record. A failure is logged and does not end the response."""
        method, tool = self._call
        record = CallRecord(
            seq=0,
            session_id=self._entry.session_id,
            generation=self._entry.generation,
            at=now(),
            route=self._target.route.name,
            status=self._status,
            method=method or self._http_method,
            tool=tool,
            complete=complete,
        )
        try:
            await asyncio.shield(self._state.add_call(record))
        except StateError as error:
            _log.error("call_not_stored", session_id=record.session_id, error=str(error))


def _is_mcp(target: Target) -> bool:
    return target.route.name.startswith("mcp/")


def _client(*, private: bool, own: OwnAddresses) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=30, use_dns_cache=False, resolver=GuardedResolver(private=private, own_addresses=own)
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )
