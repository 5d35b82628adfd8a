"""What an operator changes while managers run: keys, the drain, the number of sessions, the log level.

Changes are rows, so they reach every manager within a second and survive restarts.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore.control.access import Access, digest, id_of_key, new_key
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults
from jelmore.ports import ApiKey, KeyRights, Role, Store
from jelmore.ports.operator import LiveValue, OperatorStore
from jelmore.session.errors import ConflictError, InvalidRequestError, NotFoundError

_log = structlog.get_logger(__name__)

DRAINING: Final = "draining"
MAX_SESSIONS: Final = "max_sessions"
LOG_LEVEL: Final = "log_level"
_POLL_S: Final = 1.0
_DRAIN_POLL_S: Final = 0.25
_MAX_SHOWN: Final = 100
_SPREAD_S: Final = 2 * _POLL_S
"""Time after which every manager knows that the installation drains, and refuses turns."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new or rotated key, with its text, which is not stored."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class DrainReport:
    """Whether the installation drains, since when and by whom, and the sessions with a turn that runs or will begin."""

    draining: bool
    since: datetime | None
    by: str | None
    active_turns: int
    sessions: Sequence[UUID]
    everywhere: bool = False  # whether every manager refuses turns by now

    @property
    def drained(self) -> bool:
        """Whether no turn runs and none can begin."""
        return self.draining and self.everywhere and self.active_turns == 0


class Operator:
    """Keys and live settings. `run` applies the settings to this manager."""

    def __init__(
        self,
        operator_store: OperatorStore,
        store: Store,
        access: Access,
        defaults: Defaults,
        *,
        log_level: str,
        set_log_level: Callable[[str], None],
    ) -> None:
        self._operator_store = operator_store
        self._store = store
        self._access = access
        self._defaults = defaults
        self._configured: Mapping[str, Any] = {MAX_SESSIONS: defaults.most_live, LOG_LEVEL: log_level}
        self._set_log_level = set_log_level
        self._applied_level = log_level

    async def run(self) -> None:
        """Apply live settings until cancelled. Raises DependencyError when PostgreSQL is unavailable."""
        while True:
            await self.apply()
            await asyncio.sleep(_POLL_S)

    async def apply(self) -> Mapping[str, LiveValue]:
        """Apply the live settings to this manager, and return them."""
        found = await self._operator_store.live_settings()
        self._defaults.draining = DRAINING in found
        self._defaults.most_live = int(self._value(found, MAX_SESSIONS))
        level = str(self._value(found, LOG_LEVEL))
        if level != self._applied_level:
            self._set_log_level(level)
            self._applied_level = level
            _log.warning("log_level_changed", level=level)
        return found

    def _value(self, found: Mapping[str, LiveValue], name: str) -> Any:
        return found[name].value if name in found else self._configured[name]

    # --- settings

    async def settings(self, caller: Caller) -> Mapping[str, tuple[Any, Any, LiveValue | None]]:
        """Return each live setting: its value now, the configured one, and the change. Needs an admin key."""
        caller.check_admin()
        found = await self.apply()
        names = (MAX_SESSIONS, LOG_LEVEL)
        return {name: (self._value(found, name), self._configured[name], found.get(name)) for name in names}

    async def change(self, caller: Caller, changes: Mapping[str, Any]) -> None:
        """Change live settings on every manager; None goes back to the configured value. Needs an admin key."""
        caller.check_admin()
        for name, value in changes.items():
            if name not in self._configured:
                raise InvalidRequestError(f"{name}: is not a setting that can be changed live")
            await self._operator_store.set_live(name, value, caller.subject)
            _log.warning("setting_changed", setting=name, value=value, by=caller.subject)
        await self.apply()

    # --- drain

    async def drain(self, caller: Caller, *, wait_s: float) -> DrainReport:
        """Take no new turns on any manager; return when none runs or begins, or after `wait_s`. May run at any time.

        What was accepted before runs to its end: sessions that start or resume are waited for too.
        """
        caller.check_admin()
        if DRAINING not in await self.apply():
            await self._operator_store.set_live(DRAINING, True, caller.subject)
            await self.apply()
            _log.warning("draining", by=caller.subject)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        report = await self.drained(caller)
        while not report.drained and loop.time() < deadline:
            await asyncio.sleep(min(_DRAIN_POLL_S, max(0.0, deadline - loop.time())))
            report = await self.drained(caller)
        return report

    async def drained(self, caller: Caller) -> DrainReport:
        """Return whether the installation drains, and what still runs."""
        caller.check_admin()
        change = (await self.apply()).get(DRAINING)
        sessions, total = await self._store.under_way(_MAX_SHOWN)
        if change is None:
            return DrainReport(draining=False, since=None, by=None, active_turns=total, sessions=sessions)
        everywhere = change.age_s >= _SPREAD_S
        return DrainReport(True, change.changed_at, change.changed_by, total, sessions, everywhere)

    async def undo_drain(self, caller: Caller) -> DrainReport:
        """Take turns again. May run any number of times."""
        caller.check_admin()
        await self._operator_store.set_live(DRAINING, None, caller.subject)
        _log.warning("drain_undone", by=caller.subject)
        return await self.drained(caller)

    # --- keys

    async def keys(self, caller: Caller) -> Sequence[ApiKey]:
        """Return the keys that are not revoked."""
        caller.check_admin()
        return await self._store.keys()

    async def make_key(self, caller: Caller, name: str, rights: KeyRights, ttl_s: float | None) -> NewKey:
        """Make a key. Its text is returned here only. Raises InvalidRequestError for rights that do not go together."""
        caller.check_admin()
        check_rights(rights)
        text = new_key()
        made = await self._operator_store.make_key(
            id_of_key(text), name, rights, digest(text), ttl_s=ttl_s, created_by=caller.subject
        )
        _log.info("key_made", key=made.id, by=caller.subject)
        return NewKey(made, text)

    async def rotate_key(self, caller: Caller, key_id: str, *, former_for_s: float) -> NewKey:
        """Give a key another text; it keeps its sessions, webhooks and tokens.

        The former text works for another `former_for_s` seconds, and no earlier one for longer. Each call makes a new
        text.

        Raises NotFoundError; ConflictError for the key of the setting JELMORE_API_KEY.
        """
        caller.check_admin()
        found = await self._store.key_by_id(key_id)
        if found is not None and self._access.keys.is_first(found):
            raise ConflictError("this is the key of JELMORE_API_KEY: change the setting instead")
        text = new_key()
        rotated = await self._operator_store.rotate_key(key_id, digest(text), former_for_s=former_for_s)
        if rotated is None:
            raise NotFoundError(f"there is no key {key_id[:64]}")
        _log.info("key_rotated", key=key_id, by=caller.subject)
        return NewKey(rotated, text)

    async def set_act_as(self, caller: Caller, key_id: str, *, act_as: bool) -> ApiKey:
        """Let a client key act for every user, or no more. Sessions keep what they were created with. May run twice.

        Raises NotFoundError, ConflictError for a key that cannot have it.
        """
        caller.check_admin()
        changed = await self._operator_store.set_act_as(key_id, act_as=act_as)
        if changed is None and key_id not in {each.id for each in await self._store.keys()}:
            raise NotFoundError(f"there is no key {key_id[:64]}")
        if changed is None:
            raise ConflictError("act_as: is for client keys that are not of one user")
        _log.info("key_changed", key=key_id, act_as=act_as, by=caller.subject)
        return changed

    async def revoke_key(self, caller: Caller, key_id: str) -> None:
        """Revoke a key: what was opened with it ends at once. Raises NotFoundError; ConflictError for its own."""
        caller.check_admin()
        if key_id == caller.key.id:
            raise ConflictError("a key does not revoke itself: use another admin key")
        if not await self._store.revoke_key(key_id):
            raise NotFoundError(f"there is no key {key_id[:64]}")
        _log.info("key_revoked", key=key_id, by=caller.subject)


def check_rights(rights: KeyRights) -> None:
    """Raise InvalidRequestError that names the field which does not fit the role of a new key."""
    for name, given in (("user_id", rights.user_id is not None), ("act_as", rights.act_as)):
        if given and rights.role is not Role.CLIENT:
            raise InvalidRequestError(f"{name}: is for client keys; an admin acts for every user already")
    if rights.user_id is not None and rights.act_as:
        raise InvalidRequestError("act_as: a key of one user acts for that user only; leave out user_id or act_as")
