"""Keeps file descriptors in reserve for other uses than new connections. Every process uses it."""

import asyncio
import resource
from typing import Final

_MAX_RESERVED: Final = 128


def reserve(most_open: int) -> int:
    """Return how many of `most_open` file descriptors are kept for other uses than new connections."""
    return min(most_open // 8, _MAX_RESERVED)


def is_scarce(transport: asyncio.BaseTransport, share: float = 1.0) -> bool:
    """Return whether the connection uses a descriptor of the reserve, or of its last `share`.

    A new descriptor has the lowest free number, so its number shows how many are open. No other call is needed.
    """
    sock = transport.get_extra_info("socket")
    number = sock.fileno() if sock is not None else -1
    most_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return number >= most_open - int(reserve(most_open) * share)
