"""Keeps the gateway's registrations equal to what the session records allow.

A sandbox is registered before it starts. Its end is sent at once, and again until the gateway has it. Beside that, all
registrations are compared with all records: regularly, and when the gateway was restarted. So neither a gateway that
hangs nor a manager that dies in between leaves an ended session with access, or a live one without.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore.control.gateway_events import ModelRefusals, events_of
from jelmore.ports import Gateway, GatewayStore, PoolStore, Store
from jelmore.session.errors import DependencyError, JelmoreError
from jelmore.session.pool import GENERATION, Member, MemberState
from jelmore.session.profiles import DEFAULT_NAME
from jelmore.session.record import Session
from jelmore.session.states import Presence, Wanted
from jelmore_protocol.gateway import (
    SANDBOX_ORIGIN,
    CredentialState,
    EgressConfig,
    GatewayConfig,
    GatewayHealth,
    LocalServer,
    Registration,
    Route,
    SandboxEntry,
    SealedCredential,
    SealRequest,
    ServerState,
    sandbox_key,
)
from jelmore_protocol.network import Network

_log = structlog.get_logger(__name__)

CHECK_INTERVAL_S: Final = 2.0
COMPARE_S: Final = 60.0
_MAX_DUE: Final = 10_000
"""Above this, the next comparison sends the ends that are not remembered."""


class GatewayKeeper:
    """Sends the gateway which sandboxes may use it. `run` is its loop; the other calls may come at any time."""

    def __init__(
        self,
        gateway: Gateway,
        store: Store,
        stored: GatewayStore,
        public_pem: Callable[[], str],
        *,
        egress: EgressConfig | None = None,
        package_hosts: Sequence[str] = (),
        pool: PoolStore | None = None,
        fixed_routes: Sequence[Route] = (),
    ) -> None:
        self._gateway = gateway
        self._pool = pool
        self._store = store
        self._model_refusals = ModelRefusals()
        self._stored = stored
        self._public_pem = public_pem
        self._egress = egress or EgressConfig()
        self._package_hosts = list(package_hosts)
        self._fixed_routes = tuple(fixed_routes)
        self._networks: dict[str, Network] = {}  # what each sandbox was registered with
        self._due_registrations: dict[str, Session] = {}
        self._revoked: set[str] = set()  # keys that were sent, or are due
        self._due_revocations: set[str] = set()
        self._due_withdrawals: set[str] = set()
        self._wake = asyncio.Event()
        self._revoking = asyncio.Event()
        self._compared: tuple[str, datetime] | None = None  # the run of the gateway that was compared last
        self._compare_at = 0.0
        self.can_hold: bool | None = None  # whether the gateway can hold members of the warm pool; None: not known yet
        self.servers: Sequence[ServerState] = ()  # what registered MCP servers answered last
        self.local_servers: Sequence[LocalServer] = ()  # the operator's stdio MCP servers
        self.credentials: Sequence[CredentialState] = ()  # how the last request for each access token went

    async def register(self, session: Session) -> None:
        """Register the session's generation, before its sandbox starts. May run twice. Raises DependencyError."""
        key = sandbox_key(session.id, session.generation)
        self._due_withdrawals.discard(key)
        await self._register(session)

    async def hold(self, member_id: UUID) -> None:
        """Make the sockets of a member of the warm pool, before its sandbox starts. They refuse everything.

        May run twice. Does not hold what a session has claimed. Raises DependencyError.
        """
        registration = Registration(session_id=str(member_id), generation=GENERATION, held=True)
        await self._gateway.register(sandbox_key(member_id, GENERATION), registration)

    async def release(self, member_id: UUID) -> None:
        """Remove the registration of a member whose sandbox was removed. May run twice. Raises DependencyError."""
        await self._gateway.withdraw(sandbox_key(member_id, GENERATION))

    def follow(self, session: Session) -> None:
        """Register the session's sandbox again if its network has changed. Returns at once; `run` sends it."""
        key = sandbox_key(session.id, session.generation)
        if key in self._networks and self._networks[key] != registration_of(session).network and may_use(session):
            self._due_registrations[key] = session
            self._wake.set()

    async def _register(self, session: Session) -> None:
        key, registration = sandbox_key(session.id, session.generation), registration_of(session)
        await self._gateway.register(key, registration)
        self._networks[key] = registration.network

    def revoke(self, session: Session) -> None:
        """Refuse the session's calls: its end was requested. Returns at once; may run any number of times."""
        key = sandbox_key(session.id, session.generation)
        if key not in self._revoked and len(self._revoked) < _MAX_DUE:
            self._revoked.add(key)
            self._due_revocations.add(key)
            self._revoking.set()

    def withdraw(self, session_id: UUID, generation: int) -> None:
        """Remove the registration of a sandbox that was removed. Returns at once; `run` sends it."""
        key = sandbox_key(session_id, generation)
        self._revoked.discard(key)
        self._due_revocations.discard(key)
        self._networks.pop(key, None)
        self._due_registrations.pop(key, None)
        if len(self._due_withdrawals) < _MAX_DUE:
            self._due_withdrawals.add(key)
            self._wake.set()

    async def run(self) -> None:
        """Send what is due and compare, until cancelled. A gateway that is away is asked again."""
        away = False
        while True:
            try:
                await self.once()
                away = False
            except DependencyError as error:
                if not away:
                    _log.warning("gateway_away", error=str(error))
                away = True
            try:
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if away:
                await asyncio.sleep(CHECK_INTERVAL_S / 4)

    async def run_revocations(self) -> None:
        """Send requested ends at once, until cancelled: a pass of `run` may take a minute when there is much to do."""
        while True:
            await self._revoking.wait()
            self._revoking.clear()
            try:
                await self._revoke_due()
            except DependencyError:
                self._revoking.set()
                await asyncio.sleep(CHECK_INTERVAL_S / 4)

    async def _revoke_due(self) -> None:
        if revocations := list(self._due_revocations):
            await self._gateway.revoke(revocations)
            self._due_revocations.difference_update(revocations)

    def report(self) -> Mapping[str, Any]:
        """Return what the health report says, which anybody may read: how many registered MCP servers answer."""
        ok = sum(each.ok for each in self.servers)
        return {"mcp_servers": {"ok": ok, "failed": len(self.servers) - ok}}

    async def once(self) -> None:
        """Send what is due; compare everything when it is time. Raises DependencyError; what is due then stays due."""
        self._wake.clear()
        await self._send()
        health = await self._gateway.health()
        self.servers, self.credentials, self.can_hold = health.servers, health.credentials, health.holds
        self.local_servers = health.local_servers
        await self._configure(health)
        await self._collect(health)
        run = (health.gateway, health.started_at)
        if run != self._compared or asyncio.get_running_loop().time() > self._compare_at:
            await self._compare()
            self._compared, self._compare_at = run, asyncio.get_running_loop().time() + COMPARE_S

    async def _send(self) -> None:
        await self._revoke_due()
        for key, session in list(self._due_registrations.items()):
            await self._register(session)
            if self._due_registrations.get(key) is session:
                del self._due_registrations[key]
        for key in list(self._due_withdrawals):
            await self._gateway.withdraw(key)
            self._due_withdrawals.discard(key)

    async def _compare(self) -> None:
        """Withdraw and revoke what no record asks for, and register what is missing."""
        entries = {entry.key: entry for entry in await self._gateway.registered()}
        # Loaded after the list: a record is never older than the registration of its sandbox. The members before the
        # sessions: one that is claimed in between is found as both.
        members = {each.id: each for each in await self._pool.members()} if self._pool is not None else {}
        await self._retire_unheld(members.values(), entries)
        named = {id_ for entry in entries.values() if (id_ := _session_id(entry)) is not None}
        sessions = await self._store.load_many([*named, *await self._store.unfinished()])
        for key, entry in entries.items():
            session = sessions.get(_session_id(entry) or UUID(int=0))
            if session is None and _session_id(entry) in members:
                continue
            if session is None or not may_be_registered(session, entry.generation):
                await self._gateway.withdraw(key)
            elif session.wanted is Wanted.ENDED and not entry.revoked:
                await self._gateway.revoke([key])
        for session in sessions.values():
            key = sandbox_key(session.id, session.generation)
            if not may_use(session):
                continue
            wanted = registration_of(session)
            if key in entries and _same(entries[key], wanted):
                self._networks[key] = entries[key].network
            else:
                try:
                    await self._register(session)
                except DependencyError:
                    raise
                except JelmoreError as error:
                    _log.warning("not_registered", session_id=str(session.id), error=str(error))

    async def _retire_unheld(self, members: Iterable[Member], entries: Mapping[str, SandboxEntry]) -> None:
        """Retire the members that the gateway does not hold.

        A gateway that lost its state has removed their sockets, and one that was older has let them in.
        """
        for member in members:
            entry = entries.get(sandbox_key(member.id, GENERATION))
            if member.state is not MemberState.READY or (entry is not None and entry.held):
                continue
            if self._pool is not None and await self._pool.retire(member.id):
                _log.warning("pool_member_not_held", member=str(member.id))

    async def mcp_servers(self, session: Session) -> dict[str, Any]:
        """Return the session's own MCP servers, and the deployment's that it may use. Raises DependencyError.

        Of one name, the session's own is used, else the registered one, else the operator's stdio server.
        """
        user_id, profile = session.spec.acting_user, profile_name(session)
        registered = {
            each.name.partition("/")[2]: {"type": "http", "url": f"{SANDBOX_ORIGIN}/{each.name}"}
            for each in self.local_servers
            if each.serves(user_id, profile)
        }
        for route in await self.routes():
            kind, _, name = route.name.partition("/")
            if kind == "mcp" and route.serves(user_id, profile):
                registered[name] = {"type": route.transport, "url": f"{SANDBOX_ORIGIN}/{route.name}"}
        return {**registered, **session.spec.mcp_servers}

    async def routes(self) -> Sequence[Route]:
        """Return the registered routes, and those of the settings whose name nobody has registered."""
        stored = await self._stored.routes()
        known = {route.name for route in stored}
        return sorted([*stored, *(each for each in self._fixed_routes if each.name not in known)], key=lambda r: r.name)

    def changed(self) -> None:
        """Send the configuration soon: routes or credentials have changed. Returns at once."""
        self._wake.set()

    async def _configure(self, health: GatewayHealth) -> None:
        """Send the configuration if the gateway has another one; first re-encrypt what an older key encrypted."""
        revision, key = await self._stored.revision(), self._public_pem()
        fixed = [route.model_dump_json() for route in self._fixed_routes]
        egress = f"{self._egress.model_dump_json()} {self._package_hosts} {fixed or ''}"
        named = hashlib.sha256(f"{revision} {health.key_id} {key} {egress} {health.oauth}".encode()).hexdigest()[:16]
        if not key or health.config == named:
            return
        credentials = [
            await self._up_to_date(each.credential, health)
            for each in await self._stored.credentials()
            if health.oauth or each.credential.kind == "value"
        ]
        routes = list(await self.routes())
        # Named by what was seen before the reads: a change in between is a new name, and is sent with the next look.
        await self._gateway.configure(
            GatewayConfig(
                digest=named,
                token_public_key=key,
                package_hosts=self._package_hosts,
                egress=self._egress,
                routes=routes,
                credentials=credentials,
            )
        )

    async def _up_to_date(self, credential: SealedCredential, health: GatewayHealth) -> SealedCredential:
        if not health.key_id or credential.key_id == health.key_id:
            return credential
        request = SealRequest(
            scope=credential.scope,
            owner=credential.owner,
            name=credential.name,
            kind=credential.kind,
            sealed=credential.sealed,
        )
        try:
            sealed = await self._gateway.seal(request)
        except JelmoreError as error:  # its key is gone: the credential has to be set again
            _log.warning("credential_not_sealed_again", name=credential.name, error=str(error))
            return credential
        renewed = credential.model_copy(update=sealed.model_dump())
        await self._stored.seal_again(credential, renewed)
        return renewed

    async def _collect(self, health: GatewayHealth) -> None:
        """Store the calls that the gateway has recorded since the last look."""
        gateway = UUID(health.gateway)
        after = await self._stored.cursor(gateway)
        while after < health.calls_seq:
            page = await self._gateway.calls(after)
            if not page.calls or page.gateway != health.gateway:
                return
            events = [*events_of(page.calls), *self._model_refusals.events_of(page.calls)]
            await self._stored.add_calls(page, sorted(events, key=lambda event: event.call_seq))
            self._model_refusals.stored()
            after = page.calls[-1].seq


def registration_of(session: Session) -> Registration:
    """Return the gateway's registration of the session's current sandbox."""
    return Registration(
        session_id=str(session.id),
        generation=session.generation,
        user_id=session.spec.acting_user,
        profile=profile_name(session),
        network=Network.model_validate(session.spec.network),
    )


def profile_name(session: Session) -> str:
    """Return the name of the session's profile, that of the default one when it named none."""
    return session.spec.profile or DEFAULT_NAME


def may_be_registered(session: Session, generation: int) -> bool:
    """Return whether this generation may still have a sandbox."""
    return generation == session.generation and not session.ended and session.presence is not Presence.HIBERNATED


def may_use(session: Session) -> bool:
    """Return whether the session's present sandbox may use the gateway."""
    return may_be_registered(session, session.generation) and session.wanted is not Wanted.ENDED


def _same(entry: SandboxEntry, wanted: Registration) -> bool:
    names = ("network", "profile", "held", "user_id")
    return all(getattr(entry, name) == getattr(wanted, name) for name in names)


def _session_id(entry: SandboxEntry) -> UUID | None:
    try:
        return UUID(entry.session_id)
    except ValueError:
        return None
