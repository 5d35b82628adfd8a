"""Starts and closes one manager with all its parts."""

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jelmore.bootstrap import loops
from jelmore.bootstrap.drivers import Drivers, close_all
from jelmore.bootstrap.parts import Parts
from jelmore.control.tasks import Tasks
from jelmore.ports import Sandboxes
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.settings import Settings

_log = structlog.get_logger(__name__)

_START_PATIENCE_S: Final = 60.0
_RELEASE_S: Final = 2.0
_LAST_SPANS_S: Final = 2.0


class Manager:
    """One manager. Its parts are started in order and closed in reverse order."""

    def __init__(self, settings: Settings, slot: int, sandboxes: Sandboxes | None = None) -> None:
        self._settings = settings
        self._tasks = Tasks()
        self.drivers = Drivers(settings, slot, sandboxes)
        self.parts = Parts(settings, self.drivers, self._tasks)

    async def start(self) -> None:
        """Start all parts; return when every session was reconciled once or a deadline passed.

        Raises RefusedError when it would be wrong to continue, DependencyError when PostgreSQL does not answer.
        """
        settings, parts = self._settings, self.parts
        self.drivers.paths.prepare()
        await parts.profiles.load()
        await _when_there("postgres", self.drivers.store.check)
        await parts.access.open(settings.api_key.get_secret_value() if settings.api_key else None)
        await self._refuse_an_empty_database()
        if settings.runtime == "local":
            _log.warning("no_isolation", why="JELMORE_RUNTIME=local: sessions are plain processes of this user")
        loops.start(self._tasks, parts.loops, settled=False)
        await parts.enqueue_unfinished()
        await self._settle()
        loops.start(self._tasks, parts.loops, settled=True)
        parts.health.ready.set()
        _log.info("manager_ready", manager=settings.manager_id, following=parts.relays.following())

    async def close(self) -> None:
        """End every task and connection. Sessions keep running without a manager."""
        self.parts.health.ready.clear()
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self.parts.relays.release_leases()
        except (TimeoutError, DependencyError):
            _log.info("leases_not_given_back", why="they run out by themselves")
        await self._tasks.close()
        await close_all([*self.parts.groups, *self.drivers.closing()])
        await asyncio.to_thread(self.drivers.tracing.close, _LAST_SPANS_S)

    async def _refuse_an_empty_database(self) -> None:
        """Raise RefusedError when the database is empty but containers or workspaces exist.

        It is probably the wrong database, and working from it would remove these containers and workspaces.
        """
        if await self.drivers.store.count():
            return
        sandboxes, pool = self.drivers.sandboxes, await self.parts.pool_services.pool.ids()
        try:
            containers = sum(each.session_id not in pool for each in await sandboxes.found())
            workspaces = sum(each not in pool for each in await sandboxes.kept())
        except DependencyError:
            return
        if containers or workspaces:
            raise RefusedError(
                "postgres",
                f"the database has no session, but {containers} containers and {workspaces} workspaces of instance "
                f"{self._settings.instance!r} exist. Restore the database or check DATABASE_URL; "
                f"to give them up: {self._giving_up()}",
            )

    def _giving_up(self) -> str:
        """Return the command that removes every container and workspace of this installation."""
        if self._settings.runtime == "local":
            return f"rm -r {shlex.quote(str(self._settings.data_dir / 'local'))}"
        mine = f"--filter label=jelmore.instance={self._settings.instance}"
        return f"docker ps -aq {mine} | xargs -r docker rm -f; docker volume ls -q {mine} | xargs -r docker volume rm"

    async def _settle(self) -> None:
        """Wait until every session was reconciled once, but not too long: the rest continues in the background."""
        deadline = time.monotonic() + _START_PATIENCE_S
        while self.parts.queue.depth() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)


async def _when_there(name: str, check: Callable[[], Awaitable[None]]) -> None:
    deadline = time.monotonic() + _START_PATIENCE_S
    while True:
        try:
            await check()
        except DependencyError as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("waiting_for", dependency=name, error=str(error))
            await asyncio.sleep(1)
        else:
            return
