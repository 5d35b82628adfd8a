"""What every benchmark shares: the installation under test, calls to it, the engine, and how often to measure."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx

from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.paths import RunPaths
from tests.support.stack import docker
from tests.support.stack_client import SESSIONS, Api, Frame, eventually
from tests.support.stack_quickstart import QuickStart

AT_ONCE: Final = 4
SPARE_SLOTS: Final = 8
_STEP_INTERVAL_S: Final = 2.0
_COLD_BYTES: Final = 3 * 1024**3


class Progress:
    """Progress on stderr: at once for a new benchmark, then at most every two seconds."""

    def __init__(self) -> None:
        self._at = 0.0

    def report(self, text: str) -> None:
        """Report now."""
        self._at = time.monotonic()
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        """Report, unless something was reported within `_STEP_INTERVAL_S`."""
        if time.monotonic() - self._at >= _STEP_INTERVAL_S:
            self.report(text)


@dataclass(slots=True)
class World:
    """One running quick start. `runs` is how often each figure is measured."""

    stack: QuickStart
    api: Api
    engine: DockerEngine
    runs: int
    session_count: int
    progress: Progress = field(default_factory=Progress)
    sessions: list[Frame] = field(default_factory=list)

    @property
    def paths(self) -> RunPaths:
        """Where the stack's sockets are."""
        return RunPaths(self.stack.run_dir)

    def sockets(self, session_id: str) -> Path:
        """Return the folder of a published session's sockets."""
        return self.paths.route(UUID(session_id)).readlink().parent

    def secret(self, session_id: str) -> str:
        """Return what the session's runner asks of callers of its control socket."""
        return self.paths.secret(self.sockets(session_id).name)

    async def each(self, what: str, runs: int | None = None) -> AsyncIterator[int]:
        """Count the runs and report progress."""
        total = self.runs if runs is None else runs
        for number in range(total):
            self.progress.step(f"{what} {number + 1}/{total}")
            yield number

    async def create(self, query: str | None = None, **body: Any) -> Frame:
        """Create a session that is never put to rest by the deployment's defaults.

        Its sandbox has limits of its own, so that it is not one of the warm pool; with `limits={}` it may be.
        """
        plain = {"timeout_minutes": 0, "idle_after_s": 0, "limits": {"memory_bytes": _COLD_BYTES}}
        return await self.api.create(query, **(plain | body))

    async def pool_filled(self) -> None:
        """Return when the sandbox of the warm pool is ready."""

        async def ready() -> bool:
            answer = await self.api.http.get(f"{SESSIONS}/stats")
            return bool(answer.json()["pool"]["ready"])

        await eventually(ready, seconds=60, what=lambda: "a sandbox that was started ahead is ready")

    @asynccontextmanager
    async def session(self, **body: Any) -> AsyncIterator[Frame]:
        """A session for the block."""
        created = await self.create(**body)
        try:
            yield created
        finally:
            await self.api.delete(created["id"])

    async def create_sessions(self) -> list[Frame]:
        """Return many live sessions, made four at a time; they stay until `delete_sessions`."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with slots:
                self.sessions.append(await self.create())
                self.progress.step(f"sessions {len(self.sessions)}/{self.session_count}")

        async with asyncio.TaskGroup() as group:
            for _ in range(self.session_count - len(self.sessions)):
                group.create_task(one(), name="join the sessions")
        return self.sessions

    async def delete_sessions(self) -> None:
        """End the many sessions."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(created: Frame) -> None:
            async with slots:
                await self.api.delete(created["id"])

        async with asyncio.TaskGroup() as group:
            while self.sessions:
                group.create_task(one(self.sessions.pop()), name="leave the sessions")

    async def health(self) -> Frame | None:
        """Return what the manager says of itself, through Caddy; None when it does not answer."""
        try:
            answer = await self.api.http.get("/api/v1/health", timeout=5)
            report: Frame = answer.json()
        except (httpx.TransportError, ValueError):
            return None
        return report if "loops" in report else None

    def container_pid(self, session_id: str) -> int:
        """Return the first process of a session's container, as this machine numbers it."""
        return int(docker("inspect", "--format", "{{.State.Pid}}", self.stack.container(session_id)))

    def manager_pid(self) -> int:
        """Return the manager's process."""
        pid = self.stack.pid("manager")
        if pid is None:
            raise LookupError("the manager is not running")
        return pid


@asynccontextmanager
async def running(*, runs: int, session_count: int) -> AsyncIterator[World]:
    """Start a quick start for the block; nothing of it is left afterwards, however the block ends."""
    slots = session_count + SPARE_SLOTS
    settings = {"JELMORE_MAX_SESSIONS": str(slots), "JELMORE_LOG_LEVEL": "warning", "JELMORE_POOL_SIZE": "1"}
    stack = QuickStart(own_model=True, **settings)
    engine = DockerEngine(EngineAddress("unix:///var/run/docker.sock"))
    try:
        await asyncio.to_thread(stack.start)
        api = Api(stack)
        try:
            yield World(stack, api, engine, runs, session_count)
        finally:
            await api.http.aclose()
    finally:
        try:
            await asyncio.to_thread(stack.stop)
        finally:
            await engine.close()
            await asyncio.to_thread(stack.discard)


def path_of(created: Frame, what: str) -> str:
    """Return the path of a call below a session."""
    return f"{SESSIONS}/{created['id']}{what}"
