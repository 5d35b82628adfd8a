"""Counts the clients of sessions' own URLs in the attendance: they are connected to runners, which say who they are.

What a runner says is not believed: it is counted only of somebody who may see the session, under the name that this
side knows. A runner of an earlier version says nothing.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.attendance import AttendanceKeeper
from jelmore.control.requests import Caller
from jelmore.ports import ApiKey, KeyStore, Role
from jelmore.ports.people import Participant, ParticipantRole, PeopleStore
from jelmore.session.errors import DependencyError, UnknownSessionError
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

_GATHER_S: Final = 0.2
"""The pause after each look, so that a runner that changes its mind all the time causes few of them."""

_AGAIN_S: Final = 2.0


class OwnClients:
    """Who is connected to the runners that this manager follows. One task, `run`, enters and leaves for them."""

    def __init__(self, attendance: AttendanceKeeper, keys: KeyStore, people: PeopleStore) -> None:
        self._attendance = attendance
        self._keys = keys
        self._people = people
        self._said: dict[UUID, tuple[Session, Mapping[str, bool]]] = {}  # what is not looked at yet
        self._present: dict[UUID, dict[str, ExitStack]] = {}
        self._wake = asyncio.Event()

    def said(self, session: Session, clients: Mapping[str, bool]) -> None:
        """Note who is connected to a session's runner: subjects of tokens, and whether they may write."""
        self._said[session.id] = (session, clients)
        self._wake.set()

    def report(self) -> Mapping[str, int]:
        """Return how many sessions have clients of their own URL."""
        return {"sessions": len(self._present)}

    async def run(self) -> None:
        """Enter who has come and leave for who has gone, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            said, self._said = self._said, {}
            pause_s = _GATHER_S
            for session, clients in said.values():
                try:
                    await self._apply(session, clients)
                except DependencyError as error:
                    _log.warning("attendance_waits", session_id=str(session.id), error=str(error))
                    self._said.setdefault(session.id, (session, clients))
                    self._wake.set()
                    pause_s = _AGAIN_S
            await asyncio.sleep(pause_s)

    async def _apply(self, session: Session, clients: Mapping[str, bool]) -> None:
        present = self._present.setdefault(session.id, {})
        try:
            for subject in present.keys() - clients.keys():
                present.pop(subject).close()
            come = clients.keys() - present.keys()
            keys = await self._keys.keys_by_id(come) if come else {}
            guests = come - keys.keys()
            people = {each.id: each for each in await self._people.participants(session.id)} if guests else {}
            for subject in come:
                key, can_write = keys.get(subject), clients[subject]
                if key is None:
                    caller = _as_guest(session, people.get(subject), can_write=can_write)
                else:
                    caller = _with_key(session, key, can_write=can_write)
                if caller is not None:
                    present[subject] = ExitStack()
                    present[subject].enter_context(self._attendance.present(session.id, caller))
        finally:
            if not present:
                del self._present[session.id]


def _with_key(session: Session, key: ApiKey, *, can_write: bool) -> Caller | None:
    """Return who holds a key; None if it may not see the session."""
    try:
        Caller(key).sees(session)
    except UnknownSessionError:
        return None
    return Caller(key if can_write else replace(key, role=Role.READONLY))


def _as_guest(session: Session, guest: Participant | None, *, can_write: bool) -> Caller | None:
    """Return who takes part without a key; None for somebody who is not known."""
    if guest is None:
        return None
    role = Role.CLIENT if guest.role is ParticipantRole.EDITOR and can_write else Role.READONLY
    named = ApiKey(session.owner, guest.name, role, guest.created_at)
    approver = guest.role is ParticipantRole.APPROVER
    return Caller(named, token_subject=guest.id, participant=True, approver=approver)
