"""Reports who has a session open now: at this manager, and through Redis at the others. Nothing of it is stored.

Without Redis each manager knows its own readers only.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.requests import Caller
from jelmore.ports import LiveOutput, Role
from jelmore.ports.attendance import AttendanceBoard
from jelmore.ports.people import ParticipantRole
from jelmore.session.attendance import Attendance, LocalAttendance, Person, merged, received, report_of
from jelmore.session.errors import JelmoreError

TTL_S: Final = 45
_REFRESH_S: Final = 15.0


class AttendanceKeeper:
    """The people with an open stream. `feed` gives a frame to readers in this process, `live` to those of others."""

    def __init__(
        self,
        board: AttendanceBoard,
        live: LiveOutput,
        redis: CircuitBreaker,
        feed: Callable[[UUID, str], None],
        manager: str,
    ) -> None:
        self._board = board
        self._live = live
        self._redis = redis
        self._feed = feed
        self._manager = manager
        self._local: dict[UUID, LocalAttendance] = {}
        self._changed: set[UUID] = set()
        self._wake = asyncio.Event()
        self._next_exit: float | None = None
        self._announced: dict[UUID, str] = {}

    @contextmanager
    def present(self, session_id: UUID, caller: Caller) -> Iterator[None]:
        """Count one stream of a caller while the block runs. The caller has counted it within the limits of streams."""
        local = self._local.setdefault(session_id, LocalAttendance())
        now = datetime.now(UTC)
        since = now.replace(
            microsecond=now.microsecond // 1000 * 1000
        )  # as it is reported, so that all agree on the order
        person = Person(caller.subject, caller.key.name, _role(caller).value, since)
        if local.enter(person):
            self._touch(session_id)
        try:
            yield
        finally:
            exit_at = local.leave(person.id, time.monotonic())
            if exit_at is not None and self._next_exit is None:
                self._next_exit = exit_at
                self._wake.set()

    async def people(self, session_id: UUID) -> Attendance:
        """Return who has a session open. Without Redis, who has it open at this manager."""
        here = self._here(session_id)
        with suppress(JelmoreError):
            texts = await self._redis.call(lambda: self._board.read(session_id))
            others, more = received([text for name, text in texts.items() if name != self._manager], time.time())
            return merged([*here, *others], more)
        return merged(here)

    def report(self) -> Mapping[str, Any]:
        """Return how many sessions somebody looks at here."""
        return {"sessions": len(self._local)}

    async def run(self) -> None:
        """Report to the others what changes here, and all of it again before it expires, until cancelled."""
        refresh_at = time.monotonic() + _REFRESH_S
        while True:
            ends_at = min(refresh_at, self._next_exit or refresh_at)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, ends_at - time.monotonic())):
                    await self._wake.wait()
            self._wake.clear()
            now = time.monotonic()
            self._clear(now)
            changed, self._changed = self._changed, set()
            for session_id in changed:
                await self._report(session_id)
            if now >= refresh_at:
                refresh_at = now + _REFRESH_S
                for session_id in [each for each in self._local if each not in changed]:
                    await self._report(session_id)

    def _clear(self, now: float) -> None:
        if self._next_exit is None or self._next_exit > now:
            return
        exits = []
        for session_id, local in list(self._local.items()):
            if local.clear(now):
                self._touch(session_id)
            if (exit_at := local.next_exit) is not None:
                exits.append(exit_at)
        self._next_exit = min(exits, default=None)

    def _touch(self, session_id: UUID) -> None:
        self._changed.add(session_id)
        self._wake.set()

    async def _report(self, session_id: UUID) -> None:
        """Write what is known here for the others, and announce the list when it has changed."""
        here = self._here(session_id)
        text = report_of(here, time.time() + TTL_S)
        with suppress(JelmoreError):
            await self._redis.call(lambda: self._board.put(session_id, self._manager, text, TTL_S))
        frame = json.dumps({"type": "attendance", **(await self.people(session_id)).to_mapping()})
        if self._announced.get(session_id) != frame:
            self._announced[session_id] = frame
            self._feed(session_id, frame)
            with suppress(JelmoreError):
                await self._redis.call(lambda: self._live.publish(session_id, frame))
        if not here and session_id in self._local and not self._local[session_id].people:
            del self._local[session_id]
            self._announced.pop(session_id, None)
            self._feed(session_id, "")

    def _here(self, session_id: UUID) -> list[Person]:
        local = self._local.get(session_id)
        return local.people if local is not None else []


def _role(caller: Caller) -> ParticipantRole:
    if caller.approver:
        return ParticipantRole.APPROVER
    if caller.key.role is Role.READONLY:
        return ParticipantRole.VIEWER
    return ParticipantRole.EDITOR if caller.participant else ParticipantRole.OWNER
