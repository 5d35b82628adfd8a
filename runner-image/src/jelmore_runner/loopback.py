"""A loopback port that leads the agent out of its sandbox, to one address."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from jelmore_runner.settings import Address

MAX_CONNECTIONS: Final = 64
CHUNK_BYTES: Final = 64 * 1024
CONNECT_DEADLINE_S: Final = 10.0


class LoopbackServer(ABC):
    """Listens on a free port of 127.0.0.1. A subclass serves each connection; it takes a slot for the work of one."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.port = 0
        self.slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; `port` is then set."""
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def run(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None  # noqa: S101 - start comes first
        async with self._server:
            await self._server.serve_forever()

    @abstractmethod
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection and close it. Raises nothing."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the address. Raises OSError, or TimeoutError after `CONNECT_DEADLINE_S`."""
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            if self.address.path is not None:
                return await asyncio.open_unix_connection(self.address.path, limit=CHUNK_BYTES)
            return await asyncio.open_connection(self.address.host, self.address.port, limit=CHUNK_BYTES)
