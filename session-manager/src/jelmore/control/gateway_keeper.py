"""Keeps the gateway's registrations as the records ask for: who may use it, and who not any more.

A sandbox is registered before it starts. Its end is sent at once, and again until the gateway has it. Beside that, all
registrations are compared with all records: regularly, and when the gateway was restarted. So neither a gateway that
hangs nor a manager that dies in between leaves an ended session with access, or a live one without.
"""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from jelmore.ports import Gateway, Store
from jelmore.session.errors import DependencyError, JelmoreError
from jelmore.session.record import Session
from jelmore.session.states import Presence, Wanted
from jelmore_protocol.gateway import GatewayConfig, Registration, SandboxEntry, sandbox_key

_log = structlog.get_logger(__name__)

LOOK_S: Final = 2.0
COMPARE_S: Final = 60.0
_MOST_DUE: Final = 10_000
"""Above this, the next comparison sends the ends that are not remembered."""


class GatewayKeeper:
    """Tells the gateway which sandboxes may use it. `run` is its loop; the other calls may come at any time."""

    def __init__(self, gateway: Gateway, store: Store, public_pem: Callable[[], str]) -> None:
        self._gateway = gateway
        self._store = store
        self._public_pem = public_pem
        self._revoked: set[str] = set()  # keys that were sent, or are due
        self._due_revocations: set[str] = set()
        self._due_withdrawals: set[str] = set()
        self._wake = asyncio.Event()
        self._compared: tuple[str, datetime] | None = None  # the run of the gateway that was compared last
        self._compare_at = 0.0

    async def register(self, session: Session) -> None:
        """Let the session's present generation in, before its sandbox starts. May run twice. Raises DependencyError."""
        key = sandbox_key(session.id, session.generation)
        self._due_withdrawals.discard(key)
        await self._gateway.register(key, registration_of(session))

    def revoke(self, session: Session) -> None:
        """Cut the session off: its end was requested. Returns at once; `run` sends it. May be called often."""
        key = sandbox_key(session.id, session.generation)
        if key not in self._revoked and len(self._revoked) < _MOST_DUE:
            self._revoked.add(key)
            self._due_revocations.add(key)
            self._wake.set()

    def withdraw(self, session_id: UUID, generation: int) -> None:
        """Forget a sandbox that was removed. Returns at once; `run` sends it."""
        key = sandbox_key(session_id, generation)
        self._revoked.discard(key)
        self._due_revocations.discard(key)
        if len(self._due_withdrawals) < _MOST_DUE:
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
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if away:
                await asyncio.sleep(LOOK_S / 4)

    async def once(self) -> None:
        """Send what is due; compare everything when it is time. Raises DependencyError; what is due then stays due."""
        self._wake.clear()
        await self._send()
        health = await self._gateway.health()
        config = self._config()
        if health.config != config.digest and config.token_public_key:
            await self._gateway.configure(config)
        run = (health.gateway, health.started_at)
        if run != self._compared or asyncio.get_running_loop().time() > self._compare_at:
            await self._compare()
            self._compared, self._compare_at = run, asyncio.get_running_loop().time() + COMPARE_S

    async def _send(self) -> None:
        if revocations := list(self._due_revocations):
            await self._gateway.revoke(revocations)
            self._due_revocations.difference_update(revocations)
        for key in list(self._due_withdrawals):
            await self._gateway.withdraw(key)
            self._due_withdrawals.discard(key)

    async def _compare(self) -> None:
        """Withdraw and revoke what no record asks for, and register what is missing."""
        entries = {entry.key: entry for entry in await self._gateway.registered()}
        # Loaded after the list: a record is never older than the registration of its sandbox.
        named = {id_ for entry in entries.values() if (id_ := _session_id(entry)) is not None}
        sessions = await self._store.load_many([*named, *await self._store.unfinished()])
        for key, entry in entries.items():
            session = sessions.get(_session_id(entry) or UUID(int=0))
            if session is None or not may_be_registered(session, entry.generation):
                await self._gateway.withdraw(key)
            elif session.wanted is Wanted.ENDED and not entry.revoked:
                await self._gateway.revoke([key])
        for session in sessions.values():
            key = sandbox_key(session.id, session.generation)
            if key not in entries and may_use(session):
                try:
                    await self._gateway.register(key, registration_of(session))
                except DependencyError:
                    raise
                except JelmoreError as error:
                    _log.warning("not_registered", session_id=str(session.id), error=str(error))

    def _config(self) -> GatewayConfig:
        config = GatewayConfig(digest="", token_public_key=self._public_pem())
        return config.model_copy(update={"digest": hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]})


def registration_of(session: Session) -> Registration:
    """Return what the gateway is told about the session's present sandbox."""
    return Registration(
        session_id=str(session.id), generation=session.generation, user_id=session.spec.user_id or session.owner
    )


def may_be_registered(session: Session, generation: int) -> bool:
    """Return whether this generation may still have a sandbox."""
    return generation == session.generation and not session.ended and session.presence is not Presence.HIBERNATED


def may_use(session: Session) -> bool:
    """Return whether the session's present sandbox may use the gateway."""
    return may_be_registered(session, session.generation) and session.wanted is not Wanted.ENDED


def _session_id(entry: SandboxEntry) -> UUID | None:
    try:
        return UUID(entry.session_id)
    except ValueError:
        return None
