"""Closes what was opened with a revoked key or a rotated token: streams here, and connections to followed runners.

A key may be revoked, or a token rotated, at another manager or on the command line, so the database is polled twice a
second. Runners verify tokens offline, so each runner, also one that starts later, receives the list of revoked keys
and its token epoch.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore.control.access import Access
from jelmore.ports import ControlAddress, Runners, Store
from jelmore.session.errors import DependencyError, JelmoreError
from jelmore.session.record import Session
from jelmore.session.states import Presence
from jelmore_protocol.bounds import MAX_REVOKED_SUBJECTS
from jelmore_protocol.control import Revoke

_log = structlog.get_logger(__name__)

_EVERY_S: Final = 0.5
_CALLS_AT_ONCE: Final = 100
_CALL_S: Final = 2.0
_RETRY_S: Final = 2.0
"""The pause before the next call to a runner that is paused or did not answer."""

_LONGEST_RETRY_S: Final = 16.0
"""The pause doubles up to this one: runners that hang must not delay the revocations of others."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a runner has received."""

    generation: int
    keys: frozenset[str] = frozenset()
    token_epoch: int = 0


class Revocations:
    """Sends revoked keys to this manager's streams and to the runners of the sessions that it follows."""

    def __init__(
        self,
        store: Store,
        runners: Runners,
        access: Access,
        control_of: Callable[[Session], Awaitable[ControlAddress]],
        following: Callable[[], Mapping[UUID, int]],
        *,
        token_ttl_s: float,
    ) -> None:
        self._store = store
        self._runners = runners
        self._access = access
        self._control_of = control_of
        self._following = following
        self._window = timedelta(seconds=token_ttl_s + 60)  # tokens of keys revoked earlier have all expired
        self._published: dict[UUID, _Known] = {}
        self._silent_until: dict[UUID, float] = {}
        self._pauses_s: dict[UUID, float] = {}

    async def run(self) -> None:
        """Publish until cancelled. Continues while the database is unavailable: no key can be revoked then."""
        while True:
            try:
                await self.publish()
            except DependencyError as error:
                _log.debug("revocations_unread", error=str(error))
            await asyncio.sleep(_EVERY_S)

    async def publish(self) -> Sequence[UUID]:
        """Send new revocations to streams and runners once; return the sessions whose runner has yet to get them.

        May run any number of times. Raises DependencyError.
        """
        since = datetime.now(UTC) - self._window
        revoked = frozenset(await self._store.revoked_keys(since))
        self._access.revocation.note_revoked(revoked)
        epochs = await self._store.rotated_tokens(since)
        self._access.revocation.note_rotated(epochs)
        following = dict(self._following())
        self._published = {each: known for each, known in self._published.items() if each in following}
        self._silent_until = {each: until for each, until in self._silent_until.items() if each in following}
        self._pauses_s = {each: pause_s for each, pause_s in self._pauses_s.items() if each in following}
        behind = [
            each
            for each, generation in following.items()
            if revoked - (known := self._knows(each, generation)).keys or epochs.get(each, 0) > known.token_epoch
        ]
        due = [each for each in behind if self._silent_until.get(each, 0) <= time.monotonic()]
        at_once = asyncio.Semaphore(_CALLS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for session in (await self._store.load_many(due)).values():
                if session.presence is Presence.AWAKE and session.generation == following[session.id]:
                    group.create_task(self._send(session, revoked, at_once), name=f"revoke {session.id}")
                else:
                    self._silent_until[session.id] = time.monotonic() + _RETRY_S
        return [each for each in behind if not revoked <= self._knows(each, following[each]).keys]

    def _knows(self, session_id: UUID, generation: int) -> "_Known":
        known = self._published.get(session_id)
        return known if known and known.generation == generation else _Known(generation)

    async def _send(self, session: Session, revoked: frozenset[str], at_once: asyncio.Semaphore) -> None:
        try:
            async with at_once, asyncio.timeout(_CALL_S):
                at = await self._control_of(session)
                # Sent only if it is set: a runner of an earlier image refuses fields that it does not know.
                epoch: dict[str, Any] = {"token_epoch": session.token_epoch} if session.token_epoch else {}
                for some in batched(sorted(revoked), MAX_REVOKED_SUBJECTS) if revoked else [()]:
                    await self._runners.revoke(at, Revoke(subjects=list(some), **epoch))
        except (DependencyError, TimeoutError):
            pause_s = self._pauses_s[session.id] = min(
                2 * self._pauses_s.get(session.id, _RETRY_S / 2), _LONGEST_RETRY_S
            )
            self._silent_until[session.id] = time.monotonic() + pause_s
            return
        except JelmoreError as error:  # an older runner lacks this call; its tokens are valid until they expire
            _log.warning("revoke_refused", session_id=str(session.id), error=str(error))
        self._pauses_s.pop(session.id, None)
        self._published[session.id] = _Known(session.generation, revoked, session.token_epoch)
