"""Who is connected to the session's public URL, for the manager's list of the people who have the session open."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final

from jelmore_protocol.public_clients import MAX_CLIENTS, ClientsFrame, PublicClient

GATHER_S: Final = 0.2
"""How long changes are gathered before they are reported."""


class PublicClients:
    """Counts connections by subject and right. Any number of relays may follow."""

    def __init__(self) -> None:
        self._connections: Counter[tuple[str, bool]] = Counter()
        self._changed: set[asyncio.Event] = set()

    @contextmanager
    def connected(self, subject: str, *, can_write: bool) -> Iterator[None]:
        """Count one connection for the block."""
        key = (subject, can_write)
        self._connections[key] += 1
        self._notify()
        try:
            yield
        finally:
            self._connections[key] -= 1
            if not self._connections[key]:
                del self._connections[key]
            self._notify()

    def frame(self) -> ClientsFrame:
        """Return who is connected now, `MAX_CLIENTS` at most, once each."""
        rights: dict[str, bool] = {}
        for subject, can_write in self._connections:
            rights[subject] = rights.get(subject, False) or can_write
        clients = [PublicClient(subject=subject, can_write=may) for subject, may in rights.items()]
        return ClientsFrame(clients=clients[:MAX_CLIENTS])

    async def frames(self) -> AsyncGenerator[ClientsFrame]:
        """Yield who is connected at first, if anybody is, and after changes."""
        changed = asyncio.Event()
        self._changed.add(changed)
        last = ClientsFrame()
        try:
            while True:
                await asyncio.sleep(GATHER_S)
                changed.clear()
                if (found := self.frame()) != last:
                    last = found
                    yield found
                await changed.wait()
        finally:
            self._changed.discard(changed)

    def _notify(self) -> None:
        for each in self._changed:
            each.set()
