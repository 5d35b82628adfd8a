"""Files through a real runner and its helpers: who runs, what memory it takes, and what is left afterwards."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import pytest

from jelmore.control.ports import Ports
from jelmore.control.tasks import Tasks
from jelmore.control.workspaces import Workspaces
from jelmore.drivers.local_file_sandboxes import LocalFileSandboxes
from jelmore.drivers.local_processes import table
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.runner_link import RunnerLink
from jelmore.drivers.workspace_link import WorkspaceLink
from jelmore.session.errors import NotFoundError, WorkspaceLostError
from jelmore.session.record import Session
from tests.support.records import new_session
from tests.support.waiting import joined, until

pytestmark = pytest.mark.integration
MEBIBYTE = 2**20


class _Made:
    def __init__(self, paths: RunPaths) -> None:
        self.data = paths.run_dir.parent / "data"
        self.paths = paths
        self.sandboxes = LocalFileSandboxes(data_dir=self.data, paths=paths, search_path="/usr/bin:/bin")
        self.tasks = Tasks()
        ports = cast("Ports", _Runners())
        self.workspaces = Workspaces(ports, WorkspaceLink(), self.sandboxes, self.tasks)

    def folder(self, session_id: UUID) -> Path:
        folder = self.data / "local" / str(session_id) / "session" / "workspace"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class _Runners:
    """The only port that is used."""

    runners = RunnerLink()


@pytest.fixture
async def made(run_paths: RunPaths) -> AsyncIterator[_Made]:
    it = _Made(run_paths)
    yield it
    await it.tasks.close()
    await it.workspaces.close()
    await it.sandboxes.close()
    assert not it.paths.folders(), "no socket folder is left"


def _ended() -> Session:
    return new_session(container_id=None)


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(MEBIBYTE)


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def test_a_large_file_passes_in_bounded_memory(made: _Made) -> None:
    one = _ended()
    made.folder(one.id)
    async with made.workspaces.call(one, {"op": "get", "path": ""}) as answer:
        assert answer.head["entries"] == []
    [runner] = [process.pid for process, _ in made.sandboxes._running.values()]
    own, before, ours = os.getpid(), _peak_bytes(runner), _peak_bytes(os.getpid())
    asked = {"op": "put", "path": "large", "most_bytes": 2**40, "length": 200 * MEBIBYTE}
    async with made.workspaces.call(one, asked, _pieces(200)) as answer:
        assert answer.head["size"] == 200 * MEBIBYTE
    size = 0
    async with made.workspaces.call(one, {"op": "get", "path": "large"}) as answer:
        async for piece in answer.content:
            size += len(piece)
    assert size == 200 * MEBIBYTE
    assert _peak_bytes(runner) - before < 32 * MEBIBYTE
    assert _peak_bytes(own) - ours < 48 * MEBIBYTE


async def test_an_upload_that_breaks_off_leaves_nothing(made: _Made) -> None:
    one = _ended()
    folder = made.folder(one.id)

    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(MEBIBYTE)
        await until(lambda: bool(list(folder.iterdir())))
        raise NotFoundError("the client went away")

    with pytest.raises(NotFoundError):
        async with made.workspaces.call(one, {"op": "put", "path": "x", "most_bytes": 2**40}, breaking()):
            pass
    await until(lambda: not list(folder.iterdir()))


async def test_a_reader_that_leaves_ends_its_helper(made: _Made) -> None:
    one = _ended()
    (made.folder(one.id) / "large").write_bytes(bytes(50 * MEBIBYTE))
    async with made.workspaces.call(one, {"op": "get", "path": "large"}) as answer:
        assert await anext(answer.content)
        [runner] = [process.pid for process, _ in made.sandboxes._running.values()]
        assert [each for each in table() if each.parent == runner]
    await until(lambda: not [each for each in table() if each.parent == runner and each.alive])


async def test_calls_share_a_sandbox_and_it_goes_when_nobody_calls(
    made: _Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jelmore.control.workspaces.LINGER_S", 0.2)
    one = _ended()
    (made.folder(one.id) / "a").write_text("content")

    async def read() -> bytes:
        async with made.workspaces.call(one, {"op": "get", "path": "a"}) as answer:
            return await joined(answer.content)

    assert await asyncio.gather(*(read() for _ in range(4))) == [b"content"] * 4
    assert len(made.sandboxes._running) == 1
    await until(lambda: not made.sandboxes._running)
    assert not made.workspaces._places


async def test_a_lost_workspace_is_reported(made: _Made) -> None:
    with pytest.raises(WorkspaceLostError):
        async with made.workspaces.call(_ended(), {"op": "get", "path": ""}):
            pass
    async with made.workspaces.opened(uuid4(), make=True) as at:
        assert (made.data / "local" / str(at.session_id) / "session").is_dir()
