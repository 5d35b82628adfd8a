"""Memory of frozen containers goes to the swap, where the kernel is asked for it in the right way."""

import asyncio
import threading
from pathlib import Path

import pytest

from jelmore.drivers.paused_memory import PausedMemory, free_swap, group_of
from tests.support.waiting import until

ID = "a" * 64
USED = 150_000_000


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def second_version(groups: Path, place: str = f"docker/{ID}", *, frozen: bool = True) -> Path:
    files = {"memory_current": str(USED), "memory_reclaim": "", "memory_swap.max": "0\n", "memory_swap.current": "7\n"}
    return write(groups / place, **files, cgroup_freeze="1\n" if frozen else "0\n")


def first_version(groups: Path) -> Path:
    write(groups / "freezer" / "docker" / ID, freezer_state="FROZEN\n")
    return write(groups / "memory" / "docker" / ID, memory_usage_in_bytes=str(USED), memory_force_empty="")


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  1000 kB\nSwapTotal:  900000 kB\nSwapFree:  800000 kB\n")
    return path


async def given_back(groups: Path, meminfo: Path) -> None:
    memory = PausedMemory(groups, meminfo)
    memory.paused(ID)
    memory.paused(ID)
    await until(lambda: not memory._tasks)
    await memory.close()


@pytest.mark.parametrize(
    "place",
    [
        f"docker/{ID}",
        f"system.slice/docker-{ID}.scope",
        f"machine.slice/libpod-{ID}.scope",
        f"user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
    ],
)
async def test_the_kernel_is_asked_for_all_that_a_frozen_container_uses(
    tmp_path: Path, meminfo: Path, place: str
) -> None:
    folder = second_version(tmp_path / "groups", place)
    await given_back(tmp_path / "groups", meminfo)
    assert (folder / "memory.reclaim").read_text() == str(USED)
    assert (folder / "memory.swap.max").read_text() == "0", "while it runs, a session may not swap"


async def test_a_limit_of_swap_that_a_killed_manager_left_is_put_right(tmp_path: Path, meminfo: Path) -> None:
    folder = second_version(tmp_path / "groups")
    (folder / "memory.swap.max").write_text("max\n")
    await given_back(tmp_path / "groups", meminfo)
    assert (folder / "memory.swap.max").read_text() == "0"


async def test_while_the_kernel_works_a_session_gets_no_more_swap_than_it_has_memory(
    tmp_path: Path, meminfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = second_version(tmp_path / "groups")
    limits: list[str] = []
    write_text = Path.write_text

    def noting(path: Path, text: str) -> int:
        if path.name == "memory.reclaim":
            limits.append((folder / "memory.swap.max").read_text())
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", noting)
    await given_back(tmp_path / "groups", meminfo)
    assert limits == [str(USED + 7)]


async def test_the_kernel_works_for_one_container_at_a_time_whatever_happens_to_that(
    tmp_path: Path, meminfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, started, may_end = PausedMemory(tmp_path, meminfo), list[str](), threading.Event()

    def works(container_id: str) -> int:
        started.append(container_id)
        may_end.wait(10)
        return 0

    monkeypatch.setattr(memory, "_freed", works)
    memory.paused(ID)
    await until(lambda: started == [ID])
    memory.unpaused(ID)
    await asyncio.sleep(0.01)
    memory.paused(ID)
    memory.paused("b" * 64)
    await asyncio.sleep(0.05)
    assert started == [ID]
    may_end.set()
    await until(lambda: not memory._tasks)
    assert started == [ID, "b" * 64]
    await memory.close()


async def test_control_groups_of_the_first_version_are_emptied(tmp_path: Path, meminfo: Path) -> None:
    folder = first_version(tmp_path / "groups")
    await given_back(tmp_path / "groups", meminfo)
    assert (folder / "memory.force_empty").read_text() == "0"


async def test_a_container_that_runs_keeps_its_memory(tmp_path: Path, meminfo: Path) -> None:
    folder = second_version(tmp_path / "groups", frozen=False)
    await given_back(tmp_path / "groups", meminfo)
    assert (folder / "memory.reclaim").read_text() == ""


async def test_without_enough_swap_nothing_is_asked_for(tmp_path: Path, meminfo: Path) -> None:
    folder = second_version(tmp_path / "groups")
    meminfo.write_text("SwapFree:  100 kB\n")
    await given_back(tmp_path / "groups", meminfo)
    assert (folder / "memory.reclaim").read_text() == ""
    meminfo.write_text("MemTotal:  1000 kB\n")
    assert free_swap(meminfo) == 0


async def test_a_container_without_a_group_here_or_that_has_gone_is_left_alone(tmp_path: Path, meminfo: Path) -> None:
    assert group_of(ID, tmp_path) is None
    (second_version(tmp_path / "groups") / "memory.current").unlink()
    await given_back(tmp_path / "groups", meminfo)


async def test_a_container_that_goes_on_is_not_started_on(tmp_path: Path, meminfo: Path) -> None:
    folder = second_version(tmp_path / "groups")
    memory = PausedMemory(tmp_path / "groups", meminfo)
    async with memory._one:
        memory.paused(ID)
        await asyncio.sleep(0)
        memory.unpaused(ID)
        await until(lambda: not memory._tasks)
    assert (folder / "memory.reclaim").read_text() == ""
    memory.unpaused("unknown")
    await memory.close()
