"""Looks names up and dials addresses: the proxy's only ways to the network, so that tests can replace it."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from jelmore_gateway.egress.addresses import Address, local_addresses
from jelmore_gateway.egress.limits import BUFFER_BYTES

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
type Resolve = Callable[[str], Awaitable[list[Address]]]
type Dial = Callable[[Address, int], Awaitable[Streams]]

LOOKUPS: Final = 64
"""Concurrent name lookups. A resolver that hangs holds a thread for as long as it likes; a session gets few of them."""

OWN_ADDRESSES_S: Final = 10.0


@dataclass(slots=True)
class SystemResolver:
    """Asks the machine's resolver, in threads of its own: the loop's are shared with file access."""

    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(LOOKUPS, thread_name_prefix="egress-dns")
    )

    async def __call__(self, name: str) -> list[Address]:
        """Return the addresses of a name, in the resolver's order. Raises OSError."""
        loop = asyncio.get_running_loop()
        # The final dot keeps the machine's search domains out of the lookup.
        found = await loop.run_in_executor(self._threads, _look_up, f"{name}.")
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Release the threads, without waiting for lookups that hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> list[Address]:
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


async def dial(address: Address, port: int) -> Streams:
    """Connect to an address. Raises OSError. The caller sets the deadline."""
    return await asyncio.open_connection(str(address), port, limit=BUFFER_BYTES)


@dataclass(slots=True)
class OwnAddresses:
    """This machine's addresses as the kernel lists them, read again every few seconds."""

    _known: frozenset[Address] = frozenset()
    _at: float = float("-inf")

    def __call__(self) -> frozenset[Address]:
        """Return the addresses; the last known ones when the kernel shows none."""
        if time.monotonic() - self._at >= OWN_ADDRESSES_S:
            texts = [_text(Path("/proc/net", name)) for name in ("fib_trie", "if_inet6")]
            self._known = local_addresses(*texts) or self._known
            self._at = time.monotonic()
        return self._known


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
