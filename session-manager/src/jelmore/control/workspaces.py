"""Calls on the files of sessions: in the session's own sandbox while it is awake, else in one started for the files.

The second kind starts beside the session and has nothing to do with its record, so a session that is resumed at the
same moment is not held up. It is shared by calls that follow each other and removed a few seconds after the last one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore.control.ports import Ports
from jelmore.control.tasks import Tasks
from jelmore.ports import ControlAddress, FileSandbox, FileSandboxes, WorkspaceAnswer, WorkspaceHelpers
from jelmore.session.errors import CapacityError, DependencyError, JelmoreError
from jelmore.session.record import Session
from jelmore.session.states import Presence, SessionStatus

_log = structlog.get_logger(__name__)

MAX_SANDBOXES: Final = 8
LINGER_S: Final = 5.0
OLD_S: Final = 1800.0
"""An older sandbox takes no more calls: its engine may take it for a left-over one after two hours."""

_READY_S: Final = 30.0
_POLL_S: Final = 0.05


@dataclass(slots=True)
class _Open:
    """A sandbox for files, and how many calls use it."""

    sandbox: FileSandbox
    began_at: float
    users: int = 0
    idle_since: float = 0.0
    removed: bool = False


@dataclass(slots=True)
class _Place:
    """What is open for one session. The lock lets one caller at a time start or remove a sandbox."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    open: _Open | None = None


class Workspaces:
    """Calls of one manager on the workspaces of sessions."""

    def __init__(self, ports: Ports, helpers: WorkspaceHelpers, sandboxes: FileSandboxes, tasks: Tasks) -> None:
        self._ports = ports
        self._helpers = helpers
        self._sandboxes = sandboxes
        self._tasks = tasks
        self._places: dict[UUID, _Place] = {}
        self._started: dict[str, tuple[UUID, _Place, _Open]] = {}
        self._count = 0

    @asynccontextmanager
    async def call(
        self, session: Session, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[WorkspaceAnswer]:
        """Give a call to a helper on the session's workspace and yield its answer.

        Neither reading nor writing counts as activity of the session. Raises WorkspaceLostError without a workspace,
        CapacityError when too many sandboxes are open, and what `WorkspaceHelpers.call` raises.
        """
        if _is_awake(session):
            async with self._helpers.call(await self._ports.control_of(session), asked, body) as answer:
                yield answer
        else:
            async with self.opened(session.id) as at, self._helpers.call(at, asked, body) as answer:
                yield answer

    @asynccontextmanager
    async def fresh(
        self, session_id: UUID, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[WorkspaceAnswer]:
        """Give a call to a helper on the volume of a session that is not stored yet; the volume is made if missing."""
        async with self.opened(session_id, make=True) as at, self._helpers.call(at, asked, body) as answer:
            yield answer

    @asynccontextmanager
    async def opened(self, session_id: UUID, *, make: bool = False) -> AsyncGenerator[ControlAddress]:
        """Yield the address of a sandbox for files on this volume. With `make`, the volume is made if it is missing."""
        place = self._places.setdefault(session_id, _Place())
        place.waiting += 1
        try:
            async with place.lock:
                used = await self._take(session_id, place, make=make)
        finally:
            place.waiting -= 1
            self._forget(session_id, place)
        try:
            yield used.sandbox.control
        finally:
            used.users -= 1
            used.idle_since = asyncio.get_running_loop().time()
            if used.users == 0:
                name = f"files {used.sandbox.id}"
                if name not in self._tasks.running():
                    self._tasks.start(name, self._remove_when_idle(session_id, place, used))

    async def make(self, session_id: UUID) -> None:
        """Make an empty workspace for a session that has lost its own."""
        async with self.opened(session_id, make=True):
            pass
        await self.release(session_id)

    async def release(self, session_id: UUID) -> None:
        """Remove the sandbox of this volume now, unless a call uses it: the volume will be erased or used otherwise."""
        place = self._places.get(session_id)
        if place is not None:
            async with place.lock:
                if place.open is not None and place.open.users == 0:
                    await self._remove(session_id, place, place.open)

    async def _take(self, session_id: UUID, place: _Place, *, make: bool) -> _Open:
        now = asyncio.get_running_loop().time()
        found = place.open
        if found is not None and now - found.began_at < OLD_S and await self._listens(found.sandbox):
            found.users += 1
            return found
        if self._count >= MAX_SANDBOXES:
            raise CapacityError(
                f"at most {MAX_SANDBOXES} workspaces of sessions that are not awake may be open at once"
            )
        self._count += 1
        try:
            sandbox = await self._sandboxes.start(session_id, make=make)
            try:
                await self._until_ready(sandbox)
            except BaseException:
                await asyncio.shield(self._sandboxes.remove(sandbox.id))
                raise
        except BaseException:
            self._count -= 1
            raise
        place.open = _Open(sandbox, now, users=1)
        self._started[sandbox.id] = session_id, place, place.open
        return place.open

    async def _listens(self, sandbox: FileSandbox) -> bool:
        try:
            await self._ports.runners.health(sandbox.control)
        except JelmoreError:
            return False
        return True

    async def _until_ready(self, sandbox: FileSandbox) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_S
        while not await self._listens(sandbox):
            if asyncio.get_running_loop().time() > deadline:
                raise DependencyError("workspace", f"the sandbox for files did not listen within {_READY_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def _remove_when_idle(self, session_id: UUID, place: _Place, used: _Open) -> None:
        while used.users or (left_s := used.idle_since + LINGER_S - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(LINGER_S if used.users else left_s)
        async with place.lock:
            if not used.users:
                await self._remove(session_id, place, used)

    async def _remove(self, session_id: UUID, place: _Place, used: _Open) -> None:
        """Remove a sandbox that no call uses. May run again if it was cancelled before its end."""
        if used.removed:
            return
        try:
            await self._sandboxes.remove(used.sandbox.id)
        except JelmoreError as error:  # the sweep removes it
            _log.warning("file_sandbox_left", session_id=str(session_id), error=str(error))
        used.removed = True
        self._started.pop(used.sandbox.id, None)
        if place.open is used:
            place.open = None
        self._count -= 1
        self._forget(session_id, place)

    def _forget(self, session_id: UUID, place: _Place) -> None:
        if place.open is None and not place.waiting and self._places.get(session_id) is place:
            del self._places[session_id]

    async def close(self) -> None:
        """Remove every sandbox for files."""
        for started in list(self._started.values()):
            await self._remove(*started)


def _is_awake(session: Session) -> bool:
    return (
        not session.ended
        and session.presence is Presence.AWAKE
        and session.status is not SessionStatus.INITIALIZING
        and session.container_id is not None
    )
