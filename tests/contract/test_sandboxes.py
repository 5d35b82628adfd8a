"""What `Sandboxes` promises, on the fake, on plain processes and on Docker alike."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from jelmore.drivers.docker_engine import EngineAddress
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.local_sandboxes import LocalSandboxes
from jelmore.drivers.paths import RunPaths
from jelmore.ports import Address, Sandboxes, SandboxSpec
from jelmore.session.limits import MEBIBYTE, Limits
from jelmore.session.world import SandboxState
from tests.fakes.sandboxes import FakeSandboxes
from tests.support.waiting import until

pytestmark = pytest.mark.contract

ENGINE = EngineAddress("unix:///var/run/docker.sock")
IMAGE = "jelmore/runner:latest"
LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpus=1.0, pids=256)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="jm-"))  # short: socket paths are
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(params=["fake", "local", pytest.param("docker", marks=pytest.mark.docker)])
async def sandboxes(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Sandboxes]:
    made: Sandboxes
    paths = RunPaths(folder / "run")
    match request.param:
        case "fake":
            made = FakeSandboxes()
        case "local":
            made = LocalSandboxes(data_dir=folder / "data", paths=paths, search_path="/usr/bin:/bin")
        case _:
            made = DockerSandboxes(ENGINE, image=IMAGE, instance=f"test-{uuid4().hex[:8]}", paths=paths)
    yield made
    for session_id in {*await made.kept(), *(found.session_id for found in await made.found())}:
        await made.erase(session_id)
    await made.close()


@pytest.fixture
def spec() -> SandboxSpec:
    return SandboxSpec(uuid4(), 1, LIMITS)


async def _state(sandboxes: Sandboxes, session_id: UUID) -> SandboxState | None:
    sandbox = await sandboxes.observe(session_id)
    return None if sandbox is None else sandbox.state


async def test_nothing_is_there_before_a_start(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.check()
    assert await sandboxes.observe(spec.session_id) is None
    assert await sandboxes.found() == []
    assert await sandboxes.kept() == []
    assert await sandboxes.log_tail(spec.session_id, 10) == ()
    assert await sandboxes.journal(spec.session_id) == b""
    assert await sandboxes.kept() == []  # looking makes nothing


async def test_a_start_makes_one_box_however_often_it_is_asked_for(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    await asyncio.gather(*(sandboxes.start(spec) for _ in range(3)))
    await sandboxes.start(spec)
    await until(lambda: _is(sandboxes, spec.session_id, SandboxState.RUNNING))
    [found] = await sandboxes.found()
    assert found.session_id == spec.session_id
    assert began <= found.created_at <= datetime.now(UTC) + timedelta(seconds=2)
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    assert (sandbox.generation, sandbox.exit_code, sandbox.oom) == (1, None, False)
    assert sandbox.container_id == found.sandbox.container_id
    assert list(await sandboxes.kept()) == list(await sandboxes.sockets()) == [spec.session_id]


async def _is(sandboxes: Sandboxes, session_id: UUID, state: SandboxState) -> bool:
    return await _state(sandboxes, session_id) is state


async def test_a_newer_generation_takes_the_place_of_an_older_one_and_never_the_reverse(
    sandboxes: Sandboxes, spec: SandboxSpec
) -> None:
    await sandboxes.start(spec)
    await sandboxes.start(replace(spec, generation=2))
    await sandboxes.start(spec)  # a manager that has not heard yet
    [found] = await sandboxes.found()
    assert found.sandbox.generation == 2


async def test_freezing_and_thawing_twice_is_the_same_as_once(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.pause(spec.session_id)
    await sandboxes.unpause(spec.session_id)
    await sandboxes.start(spec)
    for _ in range(2):
        await sandboxes.pause(spec.session_id)
        await until(lambda: _is(sandboxes, spec.session_id, SandboxState.PAUSED))
    for _ in range(2):
        await sandboxes.unpause(spec.session_id)
        await until(lambda: _is(sandboxes, spec.session_id, SandboxState.RUNNING))


@pytest.mark.parametrize("frozen", [False, True])
async def test_removing_leaves_the_work_and_erasing_nothing(
    sandboxes: Sandboxes, spec: SandboxSpec, *, frozen: bool
) -> None:
    await sandboxes.start(spec)
    if frozen:
        await sandboxes.pause(spec.session_id)
    for _ in range(2):
        await sandboxes.remove(spec.session_id)
        assert await sandboxes.observe(spec.session_id) is None
    assert await sandboxes.found() == []
    assert await sandboxes.sockets() == []
    assert list(await sandboxes.kept()) == [spec.session_id]
    for _ in range(2):
        await sandboxes.erase(spec.session_id)
    assert await sandboxes.kept() == []


async def test_a_removed_session_can_be_started_again(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.start(spec)
    await sandboxes.remove(spec.session_id)
    await sandboxes.start(replace(spec, generation=2))
    await until(lambda: _is(sandboxes, spec.session_id, SandboxState.RUNNING))
    assert len(await sandboxes.found()) == 1


async def test_changes_name_the_session(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    async def named() -> None:
        async with aclosing(sandboxes.changes()) as changes:  # type: ignore[type-var]
            async for session_id in changes:
                if session_id == spec.session_id:
                    return

    await sandboxes.start(spec)
    await asyncio.wait_for(named(), 10)
    await sandboxes.remove(spec.session_id)
    await asyncio.wait_for(named(), 10)


async def test_free_disk_is_told_where_it_can_be_seen(sandboxes: Sandboxes) -> None:
    free = await sandboxes.free_bytes()
    if not isinstance(sandboxes, FakeSandboxes):  # the engine of these tests is on this host
        assert free is not None
        assert free > 0


async def test_the_two_sockets_of_a_session_differ(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    other = uuid4()
    addresses = {
        ask(session_id) for session_id in (spec.session_id, other) for ask in (sandboxes.control, sandboxes.public)
    }
    assert len(addresses) == 4
    assert all(isinstance(address, Address) for address in addresses)
