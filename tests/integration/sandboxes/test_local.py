"""Local sessions as the kernel sees them: they outlive their manager, and no pid of somebody else's is ever touched."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from jelmore.drivers.local_processes import process, table
from jelmore.drivers.local_sandboxes import LocalSandboxes
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress, SandboxSpec
from jelmore.session.errors import DependencyError
from jelmore.session.limits import Limits
from jelmore.session.world import SandboxState
from jelmore_protocol.control import Phase
from tests.support.waiting import joined, until

pytestmark = pytest.mark.integration


@pytest.fixture
async def sandboxes(run_paths: RunPaths) -> AsyncIterator[LocalSandboxes]:
    made = _sandboxes(run_paths)
    yield made
    for found in await made.found():
        await made.remove(found.sandbox.id)
    for session_id in await made.kept():
        await made.erase(session_id)


def _sandboxes(paths: RunPaths) -> LocalSandboxes:
    return LocalSandboxes(data_dir=paths.run_dir.parent / "data", paths=paths, search_path="/usr/bin:/bin")


async def _dormant(sandboxes: LocalSandboxes, session_id: UUID) -> None:
    runners = RunnerLink()

    async def answers() -> bool:
        with suppress(DependencyError):
            return (await runners.health(_control(sandboxes, session_id))).phase is Phase.DORMANT
        return False

    await until(answers, seconds=30)


def _control(sandboxes: LocalSandboxes, session_id: UUID) -> ControlAddress:
    sandbox = sandboxes._sandbox(session_id)
    assert sandbox is not None
    assert sandbox.control is not None
    return sandbox.control


def _leader(sandboxes: LocalSandboxes, session_id: UUID) -> int:
    note = sandboxes._note(session_id)
    assert note is not None
    return note.pid


def _id(sandboxes: LocalSandboxes, session_id: UUID) -> str:
    sandbox = sandboxes._sandbox(session_id)
    assert sandbox is not None
    return sandbox.id


def _runner(sandboxes: LocalSandboxes, session_id: UUID) -> int:
    [child] = [each.pid for each in table() if each.parent == _leader(sandboxes, session_id)]
    return child


async def test_a_session_outlives_the_manager_that_started_it(sandboxes: LocalSandboxes, run_paths: RunPaths) -> None:
    session_id = uuid4()
    script = (
        "import asyncio, sys; from pathlib import Path; from uuid import UUID\n"
        "from jelmore.drivers.local_sandboxes import LocalSandboxes; from jelmore.drivers.paths import RunPaths\n"
        "from jelmore.ports import SandboxSpec; from jelmore.session.limits import Limits\n"
        "made = LocalSandboxes(data_dir=Path(sys.argv[2]), paths=RunPaths(Path(sys.argv[1])), search_path='/bin')\n"
        "asyncio.run(made.start(SandboxSpec(UUID(sys.argv[3]), 1, Limits())))\n"
    )
    arguments = (str(run_paths.run_dir), str(run_paths.run_dir.parent / "data"), str(session_id))
    manager = await asyncio.create_subprocess_exec(sys.executable, "-c", script, *arguments)
    assert await asyncio.wait_for(manager.wait(), 30) == 0
    sandbox = await sandboxes.observe(session_id)
    assert sandbox is not None
    assert sandbox.state is SandboxState.RUNNING
    await _dormant(sandboxes, session_id)
    await sandboxes.remove(sandbox.id)
    assert await sandboxes.observe(session_id) is None


async def test_an_end_is_reported_with_its_code(sandboxes: LocalSandboxes) -> None:
    spec = SandboxSpec(uuid4(), 1, Limits())
    await sandboxes.start(spec)
    await _dormant(sandboxes, spec.session_id)
    os.kill(_runner(sandboxes, spec.session_id), signal.SIGKILL)

    async def ended() -> bool:
        sandbox = await sandboxes.observe(spec.session_id)
        return sandbox is not None and sandbox.state is SandboxState.EXITED and sandbox.exit_code == 137

    await until(ended)
    await sandboxes.start(spec)  # an end is left to be seen
    assert await ended()


async def test_removing_ends_also_what_left_the_family(sandboxes: LocalSandboxes) -> None:
    spec = SandboxSpec(uuid4(), 1, Limits())
    await sandboxes.start(spec)
    await _dormant(sandboxes, spec.session_id)
    stray = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        "trap '' TERM; sleep 600 & wait",
        env={"JELMORE_SESSION": str(spec.session_id), "PATH": "/usr/bin:/bin"},
        start_new_session=True,
    )
    bystander = await asyncio.create_subprocess_exec("/bin/sleep", "600", start_new_session=True)
    try:
        await sandboxes.remove(_id(sandboxes, spec.session_id))
        assert await asyncio.wait_for(stray.wait(), 10) in {0, -signal.SIGKILL}, "0: its child went first"
        assert not [each for each in table() if each.session == stray.pid and each.alive]
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_pid_that_is_used_again_is_not_touched(sandboxes: LocalSandboxes, run_paths: RunPaths) -> None:
    spec = SandboxSpec(uuid4(), 1, Limits())
    await sandboxes.start(spec)
    note = sandboxes._file(spec.session_id, "process")
    _, _, generation, key = note.read_text().split()
    bystander = await asyncio.create_subprocess_exec("/bin/sleep", "600", start_new_session=True)
    try:
        found = process(bystander.pid)
        assert found is not None
        # As if the session's pid were now the bystander's: the same number, another beginning.
        note.write_text(f"{bystander.pid} {found.started - 1} {generation} {key}\n")
        sandbox = await sandboxes.observe(spec.session_id)
        assert sandbox is not None
        assert sandbox.state is SandboxState.EXITED
        await sandboxes.pause(sandbox.id)
        await sandboxes.remove(sandbox.id)
        assert bystander.returncode is None
        after = process(bystander.pid)
        assert after is not None
        assert (after.started, after.state) == (found.started, "S")
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_missing_folder_is_not_a_session(sandboxes: LocalSandboxes) -> None:
    assert await sandboxes.kept() == []
    assert await joined(sandboxes.journal(uuid4())) == b""
