"""The gateway as a whole: its sandboxes with their sockets, its configuration, and how each request is handled."""

import asyncio
import shutil
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from jelmore_gateway.egress import Holds
from jelmore_gateway.egress_socket import EgressSocket, EgressWays, RecordWriter
from jelmore_gateway.forward import MAX_BODY_BYTES, Call, Deadlines, Observer, forward
from jelmore_gateway.listener import Listener
from jelmore_gateway.local_servers import LocalServerCalls
from jelmore_gateway.metering import Metering
from jelmore_gateway.model_check import ModelChecks
from jelmore_gateway.model_credentials import ModelCredentials
from jelmore_gateway.model_requests import METERED, model_headers, model_path
from jelmore_gateway.named_routes import route_name
from jelmore_gateway.refusals import RefusedError, forbidden, unavailable
from jelmore_gateway.repositories import Repositories
from jelmore_gateway.route_calls import RouteCalls
from jelmore_gateway.route_credentials import RouteCredentials
from jelmore_gateway.route_probes import RouteProbes
from jelmore_gateway.sandbox import Sandbox
from jelmore_gateway.server_clients import ServerClients
from jelmore_gateway.settings import Settings
from jelmore_gateway.state import State, now
from jelmore_gateway.traced_calls import TracedCalls, note_status, note_tokens
from jelmore_gateway.vault import Vault, VaultError
from jelmore_gateway.whole_bodies import WholeBodies
from jelmore_protocol.gateway import (
    EGRESS_SOCKET,
    MODEL_SOCKET,
    GatewayConfig,
    GatewayHealth,
    Registration,
    Route,
    SandboxEntry,
    sandbox_key,
)
from jelmore_protocol.tokens import Audience, TokenError, verify
from jelmore_protocol.tracing import NoTracing, Span, Tracing, carried

_log = structlog.get_logger(__name__)

FOLDER_MODE: Final = 0o755


class Gateway:
    """Owns the sandboxes, their listeners and the connections to other servers. Use `open` first, `close` last."""

    def __init__(
        self, settings: Settings, state: State, deadlines: Deadlines | None = None, tracing: Tracing | None = None
    ) -> None:
        self._settings = settings
        self._calls = TracedCalls(tracing or NoTracing())
        self._state = state
        self._deadlines = deadlines or Deadlines()
        self.vault = Vault(settings.read_keys)
        self._records = RecordWriter(state)
        self._writer: asyncio.Task[None] | None = None
        self._ways = EgressWays()
        self._sandboxes: dict[str, Sandbox] = {}
        self._listeners: dict[str, tuple[Listener, EgressSocket]] = {}
        self._shared: list[Listener] = []  # the listeners where a token says who calls
        self._changes = asyncio.Lock()
        self._started_at: datetime = now()
        self._model: aiohttp.ClientSession | None = None
        self._routes: RouteCalls | None = None
        self.config = GatewayConfig(digest="")
        self.probes = RouteProbes(lambda: self.config, self._prepare_probe)
        self._servers = ServerClients()
        self.model_credentials = ModelCredentials(settings.credential, self.vault, lambda: self.config)
        self.credentials = RouteCredentials(self.vault, state, self._servers, config=lambda: self.config)
        self._bodies = WholeBodies(self._deadlines.upload_silence_s)
        self.local_servers = LocalServerCalls(
            settings.local_socket, lambda: self.config, self.credentials, state, self._deadlines, self._bodies
        )
        self.model_checks = ModelChecks(
            lambda: self._model, _model_base(settings.model_url), self.model_credentials.of_deployment
        )
        self.repositories = Repositories(settings.state_dir / "repositories", lambda: self.config, self.credentials)

    async def open(self) -> None:
        """Listen for every sandbox that was registered before. Raises StateError, OSError."""
        self._settings.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        entries, self.config = await self._state.open()
        await self.credentials.keep_only(self.config.credentials)
        self._model = _model_client(self._settings.model_url)
        self._servers.open()
        self._routes = RouteCalls(
            lambda: self.config, self.credentials, self._servers, self._state, self._deadlines, self._bodies
        )
        self._writer = asyncio.create_task(self._records.run(), name="egress records")
        for entry in entries:
            await self._listen(entry)
        self._clear_folders()
        self.repositories.clear()
        token_listener = Listener(self._serve_by_token)
        await token_listener.open_path(self._settings.token_socket)
        self._shared.append(token_listener)
        if self._settings.listen is not None:
            network = Listener(self._serve_by_token)
            await network.open_port(*self._settings.listen)
            self._shared.append(network)

    async def close(self) -> None:
        """Close every listener and connection. The registrations stay."""
        for listener in [*self._shared, *(each for some in self._listeners.values() for each in some)]:
            listener.close()
        for sandbox in self._sandboxes.values():
            sandbox.cut()
        await self.credentials.close()
        for client in (self._model, self._servers):
            if client is not None:
                await client.close()
        if self._writer is not None:
            self._writer.cancel()
        self._ways.resolve.close()
        self._ways.holds.close()
        await self._state.close()

    # --- called by managers

    async def register(self, key: str, registration: Registration) -> None:
        """Let a sandbox in; its sockets exist on return. May run twice. Raises StateError, OSError.

        A revoked registration stays revoked: a late call must not let an ended session in again. One that was let in
        is not held again: a late call for a member of the warm pool must not stop the session that has claimed it.
        """
        async with self._changes:
            known = self._sandboxes.get(key)
            revoked = known.entry.revoked if known is not None else False
            held = registration.held and (known is None or known.entry.held)
            entry = SandboxEntry(key=key, revoked=revoked, **{**registration.model_dump(), "held": held})
            if known is None or known.entry != entry:
                await self._state.keep_sandbox(entry)
            await self._listen(entry)

    async def withdraw(self, key: str) -> None:
        """Close a sandbox's sockets and connections and forget it. Absent is success. Raises StateError."""
        async with self._changes:
            sandbox = self._sandboxes.pop(key, None)
            for listener in self._listeners.pop(key, ()):
                listener.close()
            if sandbox is not None:
                sandbox.cut()
            self.local_servers.end(key)
            await self._state.drop_sandbox(key)
            shutil.rmtree(self._folder(key), ignore_errors=True)

    async def revoke(self, keys: list[str]) -> None:
        """Cut what these sandboxes have open and refuse what follows. May run twice. Raises StateError."""
        async with self._changes:
            for key in keys:
                sandbox = self._sandboxes.get(key)
                if sandbox is not None and not sandbox.entry.revoked:
                    sandbox.entry = sandbox.entry.model_copy(update={"revoked": True})
                    sandbox.cut()
                    self.local_servers.end(key)
                    for egress in self._listeners.get(key, ())[1:]:  # none after a failure to listen again
                        egress.update(sandbox.entry, self.config)
                    await self._state.keep_sandbox(sandbox.entry)
                    _log.info("sandbox_revoked", key=key, session_id=sandbox.entry.session_id)

    async def configure(self, config: GatewayConfig) -> None:
        """Replace the configuration. May run twice. Raises StateError."""
        async with self._changes:
            await self._state.keep_config(config)
            self.config = config
            await self.credentials.keep_only(config.credentials)
            for key, (_, egress) in self._listeners.items():
                egress.update(self._sandboxes[key].entry, config)

    def entries(self) -> list[SandboxEntry]:
        """Return every registration."""
        return [sandbox.entry for sandbox in self._sandboxes.values()]

    def health(self) -> GatewayHealth:
        """Return the state of the gateway."""
        return GatewayHealth(
            gateway=self._state.gateway,
            started_at=self._started_at,
            config=self.config.digest,
            sandboxes=len(self._sandboxes),
            streams=sum(sandbox.streams for sandbox in self._sandboxes.values()),
            calls_seq=self._state.calls_seq,
            key_id=self._key_id(),
            servers=[*self.probes.found(), *self.local_servers.states()],
            local_servers=list(self.local_servers.servers),
            credentials=self.credentials.states(),
            holds=True,
            oauth=True,
        )

    @property
    def holds(self) -> Holds:
        """The connections that wait for a person."""
        return self._ways.holds

    def _key_id(self) -> str:
        try:
            return self.vault.key_id
        except VaultError as error:
            _log.error("no_key", error=str(error))
            return ""

    async def _prepare_probe(self, route: Route) -> tuple[aiohttp.ClientSession, list[tuple[str, str]]]:
        if self._routes is None:
            raise unavailable("the gateway is not open")
        return await self._routes.prepare_probe(route)

    # --- called by sandboxes

    async def _serve_by_token(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            sandbox = self._sandbox_of_token(request)
        except RefusedError as error:
            return error.response()
        return await self.serve(sandbox, request)

    def _sandbox_of_token(self, request: web.BaseRequest) -> Sandbox:
        if not self.config.token_public_key:
            raise unavailable("the gateway waits for the manager's public key")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise RefusedError(401, "authentication_error", "send the session's token in Authorization: Bearer")
        try:
            claims = verify(token, self.config.token_public_key, session_id=None, audience=Audience.GATEWAY)
        except TokenError as error:
            if error.forbidden:
                raise forbidden(str(error)) from None
            raise RefusedError(401, "authentication_error", str(error)) from None
        sandbox = self._sandboxes.get(sandbox_key(claims.session_id, claims.generation))
        if sandbox is None:
            raise forbidden("the session has ended, or has a newer container")
        return sandbox

    async def serve(self, sandbox: Sandbox, request: web.BaseRequest) -> web.StreamResponse:
        """Carry out one request of a sandbox; return its response, of which a part or all may be sent."""
        transport = request.transport
        try:
            refusal = sandbox.refusal()
            if transport is None or refusal is not None:
                raise refusal or unavailable("the connection was closed")
            route = route_name(request.raw_path)
            with sandbox.stream(transport), self._calls.span(sandbox.entry, request, self._shown(route)) as span:
                if (server := self.local_servers.find(route)) is not None:
                    return await self.local_servers.carry(sandbox.entry, server, request)
                if route is not None and self._routes is not None:
                    return await self._routes.carry(sandbox.entry, request, partial(note_status, span))
                return await self._to_model(sandbox, request, span)
        except RefusedError as error:
            _log.info("refused", session_id=sandbox.entry.session_id, status=error.status, why=str(error))
            return error.response()

    def _shown(self, route: str | None) -> str:
        """Return the name of a route for a span: that of no route is a text of the sandbox."""
        if route is None:
            return "model"
        return f"route {route if any(each.name == route for each in self.config.routes) else 'unknown'}"

    async def _to_model(self, sandbox: Sandbox, request: web.BaseRequest, span: Span) -> web.StreamResponse:
        target = request.raw_path
        path = model_path(target)
        if path is None or self._model is None:
            raise forbidden("only the Messages API and registered routes are reachable here")
        credential = self.model_credentials.of(sandbox.entry)
        shown = carried() if self._settings.traces.model_api else {}  # internal headers stay inside unless wanted
        call = Call(
            url=URL(_model_base(self._settings.model_url) + target, encoded=True),
            headers=[*model_headers(request.headers.items(), credential), *shown.items()],
            name="the model API",
            max_body_bytes=MAX_BODY_BYTES,
            on_status=partial(note_status, span),
        )
        if path != METERED:
            return await forward(request, call, self._model, self._deadlines, Observer())
        observer = Metering(sandbox.entry, self._state)
        try:
            return await forward(request, call, self._model, self._deadlines, observer)
        finally:
            note_tokens(span, observer.tokens)

    # --- sockets

    def _folder(self, key: str) -> Path:
        return self._settings.folder / key

    async def _listen(self, entry: SandboxEntry) -> None:
        known = self._sandboxes.get(entry.key)
        if known is not None:
            known.entry = entry
        sandbox = known or Sandbox(entry)
        folder = self._folder(entry.key)
        # A container is bound to this folder, so it is never replaced while the sandbox is registered.
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        folder.chmod(FOLDER_MODE)
        if entry.key in self._listeners and all((folder / name).is_socket() for name in (MODEL_SOCKET, EGRESS_SOCKET)):
            self._listeners[entry.key][1].update(entry, self.config)
            return
        for listener in self._listeners.pop(entry.key, ()):
            listener.close()
        model = Listener(lambda request: self.serve(sandbox, request))
        egress = EgressSocket(self._ways, self._records, entry, self.config)
        await model.open_path(folder / MODEL_SOCKET)
        await egress.open_path(folder / EGRESS_SOCKET)
        self._listeners[entry.key] = (model, egress)
        self._sandboxes[entry.key] = sandbox

    def _clear_folders(self) -> None:
        """Remove the folders of sandboxes that were withdrawn while a crash prevented their removal."""
        for folder in self._settings.folder.iterdir():
            if folder.is_dir() and folder.name not in self._sandboxes:
                shutil.rmtree(folder, ignore_errors=True)


def _model_client(url: str) -> aiohttp.ClientSession:
    if url.startswith("unix:"):
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(url.removeprefix("unix:"), limit=0)
    else:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )


def _model_base(url: str) -> str:
    return "http://model" if url.startswith("unix:") else url
