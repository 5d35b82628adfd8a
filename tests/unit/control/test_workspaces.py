"""Which sandbox a call on files goes to, and how long one that was started for files stays."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest

from jelmore.control import files, workspaces
from jelmore.control.ports import Ports
from jelmore.control.tasks import Tasks
from jelmore.control.workspaces import Workspaces
from jelmore.ports import ControlAddress, FileSandbox, WorkspaceAnswer
from jelmore.session.errors import CapacityError, DependencyError
from jelmore.session.record import Session
from jelmore.session.resources import Measurement, Resources
from jelmore.session.states import Presence, SessionStatus
from tests.support.records import new_session
from tests.support.waiting import until


async def _nothing() -> AsyncGenerator[bytes]:
    yield b"content"


class _World:
    """Every port that is used: runners that listen, helpers that record where they were called, and file sandboxes."""

    def __init__(self) -> None:
        self.called: list[ControlAddress] = []
        self.running: dict[str, UUID] = {}
        self.started = 0
        self.deaf = False
        self.runners = self

    async def health(self, at: ControlAddress) -> None:
        if self.deaf:
            raise DependencyError("runner", "no answer")

    async def control_of(self, session: Session) -> ControlAddress:
        return ControlAddress("unix:/own", session.id, session.generation)

    @asynccontextmanager
    async def call(
        self, at: ControlAddress, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> AsyncIterator[WorkspaceAnswer]:
        self.called.append(at)

        yield WorkspaceAnswer({}, _nothing())

    async def start(self, session_id: UUID, *, make: bool = False) -> FileSandbox:
        self.started += 1
        name = f"files-{self.started}"
        self.running[name] = session_id
        return FileSandbox(name, ControlAddress(f"unix:/{name}", session_id, 0))

    async def remove(self, sandbox_id: str) -> None:
        self.running.pop(sandbox_id, None)

    async def close(self) -> None:
        """Nothing to release."""


@pytest.fixture
def made() -> _World:
    return _World()


@pytest.fixture
async def calls(made: _World) -> AsyncIterator[Workspaces]:
    tasks = Tasks()
    it = Workspaces(cast("Ports", made), made, made, tasks)
    yield it
    await tasks.close()
    await it.close()
    assert not made.running


async def _call(calls: Workspaces, session: Session) -> None:
    async with calls.call(session, {}):
        pass


def _awake() -> Session:
    return new_session(status=SessionStatus.WAITING_INPUT, presence=Presence.AWAKE, container_id="c", generation=1)


async def test_an_awake_session_is_called_in_its_own_sandbox(made: _World, calls: Workspaces) -> None:
    await _call(calls, _awake())
    assert [at.text for at in made.called] == ["unix:/own"]
    assert made.started == 0


@pytest.mark.parametrize(
    "session",
    [
        replace(_awake(), presence=Presence.PAUSED),
        replace(_awake(), presence=Presence.HIBERNATED, container_id=None),
        replace(_awake(), status=SessionStatus.TERMINATED, container_id=None),
        replace(_awake(), status=SessionStatus.INITIALIZING),
        replace(_awake(), container_id=None),
    ],
    ids=["paused", "hibernated", "ended", "starting", "being replaced"],
)
async def test_any_other_is_called_in_one_for_its_files(made: _World, calls: Workspaces, session: Session) -> None:
    await asyncio.gather(*(_call(calls, session) for _ in range(5)))
    assert {at.text for at in made.called} == {"unix:/files-1"}
    await calls.release(session.id)
    assert not made.running
    await _call(calls, session)
    assert made.started == 2


async def test_an_idle_one_goes_and_one_in_use_stays(
    made: _World, calls: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "LINGER_S", 0.01)
    async with calls.opened(_awake().id) as at:
        await calls.release(at.session_id)
        async with calls.opened(at.session_id) as same:
            assert same == at
        await asyncio.sleep(0.03)
        assert made.running
    await until(lambda: not made.running)


async def test_one_that_died_or_is_old_is_replaced(
    made: _World, calls: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = replace(_awake(), presence=Presence.PAUSED)
    await _call(calls, session)
    monkeypatch.setattr(workspaces, "OLD_S", 0.0)
    await _call(calls, session)
    assert made.started == 2


async def test_one_that_never_listens_is_removed(
    made: _World, calls: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "_READY_S", 0.02)
    made.deaf = True
    with pytest.raises(DependencyError, match="did not listen"):
        await _call(calls, new_session())
    assert not made.running
    assert not calls._places


async def test_only_so_many_are_open_at_once(made: _World, calls: Workspaces) -> None:
    for _ in range(workspaces.MAX_SANDBOXES):
        await _call(calls, new_session())
    with pytest.raises(CapacityError):
        await _call(calls, new_session())
    assert len(made.running) == workspaces.MAX_SANDBOXES


def test_what_is_left_is_the_limit_without_what_is_used() -> None:
    session = new_session()
    limit = session.spec.limits.workspace_bytes
    assert files.left_bytes(session) == limit
    reading = Resources(reading=Measurement(workspace_bytes=limit - 5))
    assert files.left_bytes(replace(session, resources=reading)) == 5
    over = Resources(reading=Measurement(workspace_bytes=limit + 5))
    assert files.left_bytes(replace(session, resources=over)) == 0
