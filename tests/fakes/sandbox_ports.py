"""`PortConnections` to ports of this machine, without a runner between."""

import asyncio
from dataclasses import dataclass, field

from jelmore.ports import ControlAddress, PortClosedError, PortConnection
from jelmore.session.errors import DependencyError, NotFoundError


class LoopbackConnection:
    """A plain TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.closed = False
        self.revoked = False  # whether the sandbox ends it, because the key was revoked

    async def receive(self) -> bytes:
        try:
            piece = await self._reader.read(65536)
        except OSError:
            raise PortClosedError(in_order=False) from None
        if not piece:
            raise PortClosedError(in_order=not self.revoked, revoked=self.revoked)
        return piece

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise PortClosedError(in_order=False) from None

    async def end(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self.closed = True
        self._writer.close()


@dataclass
class LoopbackPorts:
    """All connections. `refusals` counts down: that many attempts find a runner that is not ready."""

    opened: list[tuple[int, str]] = field(default_factory=list)
    connections: list[LoopbackConnection] = field(default_factory=list)
    refusals: int = 0

    async def connect(self, at: ControlAddress, port: int, *, subject: str) -> PortConnection:
        if self.refusals:
            self.refusals -= 1
            raise DependencyError("runner", "the session is not ready")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            raise NotFoundError(f"nothing of the session listens on port {port}") from None
        self.opened.append((port, subject))
        connection = LoopbackConnection(reader, writer)
        self.connections.append(connection)
        return connection
