"""Moves the memory of paused containers to the swap of this machine.

A paused session keeps 140 to 180 MB that it cannot use. Where there is swap, the kernel writes them there when it is
asked: by `memory.reclaim` of the container's control group, or `memory.force_empty` in control groups of the first
version. They come back page by page when the session continues, which makes its next turn slower. Sources: the kernel's
documents on control groups, v1 and v2.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from jelmore.drivers.docker_sandboxes import DockerSandboxes

_log = structlog.get_logger(__name__)

_GROUPS: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")
_PLACES: Final = (
    "docker/{id}",
    "system.slice/docker-{id}.scope",
    "machine.slice/libpod-{id}.scope",
    "user.slice/*/*/user.slice/docker-{id}.scope",
    "user.slice/*/*/user.slice/libpod-{id}.scope",
)
"""Where engines put the control group of a container: Docker with either driver, Podman, both also without root."""


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """The control group of one container on this machine. Its methods block, and raise OSError and ValueError."""

    memory: Path
    freezer: Path
    first_version: bool

    def used(self) -> int:
        """Return how many bytes of memory it uses."""
        return int((self.memory / ("memory.usage_in_bytes" if self.first_version else "memory.current")).read_text())

    def frozen(self) -> bool:
        """Return whether its processes are frozen."""
        if self.first_version:
            return (self.freezer / "freezer.state").read_text().strip() == "FROZEN"
        return (self.freezer / "cgroup.freeze").read_text().strip() == "1"

    def give_back(self) -> None:
        """Have the kernel take what it can, which may be nothing. May take seconds."""
        if self.first_version:
            (self.memory / "memory.force_empty").write_text("0")
            return
        used, swapped = self.used(), int((self.memory / "memory.swap.current").read_text())
        limit = self.memory / "memory.swap.max"
        limit.write_text(
            str(swapped + used)
        )  # no more, as a manager that is killed now leaves it so until the next pause
        try:
            with suppress(BlockingIOError):  # it took less than that
                (self.memory / "memory.reclaim").write_text(str(used))
        finally:
            limit.write_text("0")  # as the container was made: a session's limit is one of memory and swap together


def group_of(container_id: str, groups: Path = _GROUPS) -> MemoryGroup | None:
    """Return the control group of a container; None where this machine does not have it. Blocks."""
    for place in _PLACES:
        named = place.format(id=container_id)
        for memory in (groups / "memory").glob(named):
            return MemoryGroup(memory, groups / "freezer" / memory.relative_to(groups / "memory"), first_version=True)
        for folder in groups.glob(named):
            if (folder / "memory.reclaim").exists():
                return MemoryGroup(folder, folder, first_version=False)
    return None


def free_swap(meminfo: Path = _MEMINFO) -> int:
    """Return the bytes of swap of this machine that are free. Blocks. Raises OSError."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("SwapFree:"):
            return int(line.split()[1]) * 1024
    return 0


class PausedMemory:
    """Gives memory back in the background, of one container after the other. Use it from one event loop."""

    def __init__(self, groups: Path = _GROUPS, meminfo: Path = _MEMINFO) -> None:
        self._groups = groups
        self._meminfo = meminfo
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._one = asyncio.Lock()
        self._working: str | None = None  # the container that the kernel works on: its thread cannot be ended

    def paused(self, container_id: str) -> None:
        """Give back the memory of a container that was paused. Returns at once; may run any number of times."""
        if container_id not in self._tasks:
            task = asyncio.create_task(self._give_back(container_id), name=f"paused memory {container_id[:12]}")
            self._tasks[container_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(container_id, None))

    def unpaused(self, container_id: str) -> None:
        """Do not start on this container any more. One that the kernel works on is finished."""
        if container_id != self._working and (task := self._tasks.get(container_id)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Start on no other container. What the kernel works on is its own."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _give_back(self, container_id: str) -> None:
        async with self._one:
            self._working = container_id
            try:
                freed = await asyncio.to_thread(self._freed, container_id)
            except (OSError, ValueError) as error:  # no rights there, or the container has gone
                _log.debug("paused_memory_kept", container=container_id, error=repr(error))
            else:
                if freed:
                    _log.info("paused_memory_given_back", container=container_id, bytes=freed)
            finally:
                self._working = None

    def _freed(self, container_id: str) -> int:
        group = group_of(container_id, self._groups)
        if group is None or free_swap(self._meminfo) < (before := group.used()) or not group.frozen():
            return 0
        group.give_back()
        return before - group.used()


class SwappingSandboxes(DockerSandboxes):
    """`DockerSandboxes` whose paused containers give their memory back, where this machine runs them and has swap."""

    def __init__(self, *args: Any, memory: PausedMemory | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._memory = memory or PausedMemory()

    async def pause(self, sandbox_id: str) -> None:
        """Pause this container, as `DockerSandboxes`. Its memory follows in the background."""
        await super().pause(sandbox_id)
        self._memory.paused(sandbox_id)

    async def unpause(self, sandbox_id: str) -> None:
        """Unpause this container, as `DockerSandboxes`."""
        self._memory.unpaused(sandbox_id)
        await super().unpause(sandbox_id)

    async def close(self) -> None:
        """Close the connections to the engine, and give no more memory back."""
        await self._memory.close()
        await super().close()
