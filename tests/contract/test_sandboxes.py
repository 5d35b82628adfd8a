"""What `Sandboxes` promises, on the fake, on plain processes and on Docker alike."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import pytest

from jelmore.drivers.docker_engine import EngineAddress
from jelmore.drivers.docker_options import WantedOptions
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.local_sandboxes import LocalSandboxes
from jelmore.drivers.paths import RunPaths
from jelmore.ports import Sandboxes, SandboxSpec
from jelmore.session.errors import ConflictError, WorkspaceLostError
from jelmore.session.limits import MEBIBYTE, Limits
from jelmore.session.world import Sandbox, SandboxState
from jelmore_engine_proxy.proxy import EngineProxy
from tests.fakes.sandboxes import FakeSandboxes
from tests.support.engine_proxy import started_proxy
from tests.support.engine_relay import ENGINE_SOCKET, OCI_RUNTIME, RUNNER_IMAGE
from tests.support.tcp_sandboxes import TcpSandboxes
from tests.support.waiting import joined, until

pytestmark = pytest.mark.contract

ENGINE = EngineAddress(f"unix://{ENGINE_SOCKET}")
IMAGE = RUNNER_IMAGE
WANTED = WantedOptions(runtime=OCI_RUNTIME)
LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpus=1.0, pids=256)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="jm-"))  # short: socket paths are
    yield made
    shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def _driver(kind: str, folder: Path) -> AsyncIterator[Sandboxes]:
    made: Sandboxes
    paths = RunPaths(folder / "run")
    instance = f"test-{uuid4().hex[:8]}"
    proxy: EngineProxy | None = None
    match kind:
        case "fake":
            made = FakeSandboxes()
        case "local":
            made = LocalSandboxes(data_dir=folder / "data", paths=paths, search_path="/usr/bin:/bin")
        case "tcp":
            made = TcpSandboxes(folder / "data", gateway="tcp:127.0.0.1:9", search_path="/usr/bin:/bin")
        case "docker":
            made = DockerSandboxes(ENGINE, image=IMAGE, instance=instance, paths=paths, wanted=WANTED)
        case _:
            proxy, address = await started_proxy(folder, paths.run_dir, instance, IMAGE)
            made = DockerSandboxes(address, image=IMAGE, instance=instance, paths=paths)
    yield made
    for found in await made.found():
        await made.remove(found.sandbox.id)
    for session_id in await made.kept():
        await made.erase(session_id)
    await made.close()
    if proxy is not None:
        await proxy.close()


ON_DOCKER: Final = [pytest.param(kind, marks=pytest.mark.docker) for kind in ("docker", "docker-through-the-proxy")]


@pytest.fixture(params=["fake", "local", "tcp", *ON_DOCKER])
async def sandboxes(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Sandboxes]:
    async with _driver(request.param, folder) as made:
        yield made


@pytest.fixture
def spec() -> SandboxSpec:
    return SandboxSpec(uuid4(), 1, LIMITS)


async def _state(sandboxes: Sandboxes, session_id: UUID) -> SandboxState | None:
    sandbox = await sandboxes.observe(session_id)
    return None if sandbox is None else sandbox.state


async def _only(sandboxes: Sandboxes, session_id: UUID) -> Sandbox:
    sandbox = await sandboxes.observe(session_id)
    assert sandbox is not None
    return sandbox


async def _erase(sandboxes: Sandboxes, session_id: UUID) -> None:
    sandbox = await sandboxes.observe(session_id)
    if sandbox is not None:
        await sandboxes.remove(sandbox.id)
    await sandboxes.erase(session_id)


async def test_nothing_is_there_before_a_start(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.check()
    assert await sandboxes.observe(spec.session_id) is None
    assert await sandboxes.found() == []
    assert await sandboxes.kept() == []
    assert await sandboxes.log_tail("no-such-sandbox", 10) == ()
    assert await joined(sandboxes.journal(spec.session_id)) == b""
    assert await sandboxes.kept() == []  # looking makes nothing


async def test_a_sandbox_is_found_by_the_generation_that_it_should_be_of(
    sandboxes: Sandboxes, spec: SandboxSpec
) -> None:
    assert await sandboxes.observe(spec.session_id, 1) is None
    await sandboxes.start(spec)
    found = await _only(sandboxes, spec.session_id)
    assert await sandboxes.observe(spec.session_id, 1) == found
    assert await sandboxes.observe(spec.session_id, 2) == found, "that of another generation is not overlooked"
    assert await sandboxes.observe(uuid4(), 1) is None


async def test_a_start_makes_one_sandbox_however_often_it_is_requested(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
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
    assert sandbox.id == found.sandbox.id
    assert list(await sandboxes.kept()) == [spec.session_id]
    assert await sandboxes.leftovers() == []


async def _is(sandboxes: Sandboxes, session_id: UUID, state: SandboxState) -> bool:
    return await _state(sandboxes, session_id) is state


async def test_a_newer_generation_takes_the_place_of_an_older_one_and_never_the_reverse(
    sandboxes: Sandboxes, spec: SandboxSpec
) -> None:
    await sandboxes.start(spec)

    async def is_replaced() -> bool:
        await sandboxes.start(replace(spec, generation=2))  # does nothing while the first start holds its lock
        [found] = await sandboxes.found()
        return found.sandbox.generation == 2

    await until(is_replaced)
    await sandboxes.start(spec)  # a manager that does not know of it yet
    [found] = await sandboxes.found()
    assert found.sandbox.generation == 2


async def test_freezing_and_thawing_twice_is_the_same_as_once(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.start(spec)
    name = (await _only(sandboxes, spec.session_id)).id
    for _ in range(2):
        await sandboxes.pause(name)
        await until(lambda: _is(sandboxes, spec.session_id, SandboxState.PAUSED))
    for _ in range(2):
        await sandboxes.unpause(name)
        await until(lambda: _is(sandboxes, spec.session_id, SandboxState.RUNNING))
    await sandboxes.remove(name)
    await sandboxes.pause(name)
    await sandboxes.unpause(name)


@pytest.mark.parametrize("frozen", [False, True])
async def test_removing_leaves_the_work_and_erasing_nothing(
    sandboxes: Sandboxes, spec: SandboxSpec, *, frozen: bool
) -> None:
    await sandboxes.start(spec)
    name = (await _only(sandboxes, spec.session_id)).id
    if frozen:
        await sandboxes.pause(name)
    for _ in range(2):
        await sandboxes.remove(name)
        assert await sandboxes.observe(spec.session_id) is None
    assert await sandboxes.found() == []
    assert await sandboxes.leftovers() == []
    assert list(await sandboxes.kept()) == [spec.session_id]
    assert await sandboxes.has_workspace(spec.session_id)
    for _ in range(2):
        await sandboxes.erase(spec.session_id)
    assert await sandboxes.kept() == []
    assert not await sandboxes.has_workspace(spec.session_id)


async def test_a_late_removal_does_not_reach_a_successor(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    """A manager that stalls between its look and its removal holds the id of the sandbox that it saw."""
    await sandboxes.start(spec)
    seen = await _only(sandboxes, spec.session_id)
    await sandboxes.start(replace(spec, generation=2))
    successor = await _only(sandboxes, spec.session_id)
    assert successor.id != seen.id
    assert (successor.control, successor.public) != (seen.control, seen.public)
    for late in (sandboxes.pause, sandboxes.unpause, sandboxes.remove):
        await late(seen.id)
    assert (await _only(sandboxes, spec.session_id)).id == successor.id
    assert await _is(sandboxes, spec.session_id, SandboxState.RUNNING)
    assert await sandboxes.leftovers() == [], "the sockets of the first are gone, those of the second in use"


async def test_a_late_removal_does_not_reach_another_container_of_its_generation(
    sandboxes: Sandboxes, spec: SandboxSpec
) -> None:
    await sandboxes.start(spec)
    seen = await _only(sandboxes, spec.session_id)
    await sandboxes.remove(seen.id)
    await sandboxes.start(spec)
    await sandboxes.remove(seen.id)
    assert (await _only(sandboxes, spec.session_id)).id != seen.id
    assert await _is(sandboxes, spec.session_id, SandboxState.RUNNING)


async def test_a_workspace_in_use_is_not_erased(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.start(spec)
    with pytest.raises(ConflictError):
        await sandboxes.erase(spec.session_id)
    assert await sandboxes.has_workspace(spec.session_id)
    assert await _is(sandboxes, spec.session_id, SandboxState.RUNNING)


async def test_a_removed_session_can_be_started_again(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    await sandboxes.start(spec)
    await sandboxes.remove((await _only(sandboxes, spec.session_id)).id)
    await sandboxes.start(replace(spec, generation=2))
    await until(lambda: _is(sandboxes, spec.session_id, SandboxState.RUNNING))
    assert len(await sandboxes.found()) == 1


@pytest.mark.parametrize(("generation", "has_output"), [(2, False), (1, True), (2, True)])
async def test_a_lost_workspace_is_not_replaced_by_an_empty_one(
    sandboxes: Sandboxes, spec: SandboxSpec, generation: int, *, has_output: bool
) -> None:
    await sandboxes.start(spec)
    await _erase(sandboxes, spec.session_id)
    again = replace(spec, generation=generation, has_output=has_output)
    for _ in range(2):
        with pytest.raises(WorkspaceLostError):
            await sandboxes.start(again)
    assert await sandboxes.kept() == []
    assert not await sandboxes.has_workspace(spec.session_id)
    assert await sandboxes.found() == []


async def test_changes_name_the_session(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    async def named() -> None:
        async with aclosing(sandboxes.changes()) as changes:  # type: ignore[type-var]
            async for session_id in changes:
                if session_id == spec.session_id:
                    return

    await sandboxes.start(spec)
    await asyncio.wait_for(named(), 10)
    await sandboxes.remove((await _only(sandboxes, spec.session_id)).id)
    await asyncio.wait_for(named(), 10)


async def test_free_disk_is_reported_where_it_can_be_seen(sandboxes: Sandboxes) -> None:
    free = await sandboxes.free_bytes()
    if not isinstance(sandboxes, FakeSandboxes | TcpSandboxes):  # the engine of these tests is on this host
        assert free is not None
        assert free > 0


async def test_each_sandbox_has_addresses_of_its_own(sandboxes: Sandboxes, spec: SandboxSpec) -> None:
    other = replace(spec, session_id=uuid4())
    await sandboxes.start(spec)
    await sandboxes.start(other)
    both = [await _only(sandboxes, each.session_id) for each in (spec, other)]
    assert len({sandbox.control for sandbox in both} | {sandbox.public for sandbox in both}) == 4
    assert [each.control and each.control.session_id for each in both] == [spec.session_id, other.session_id]
