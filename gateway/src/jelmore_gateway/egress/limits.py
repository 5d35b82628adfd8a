"""How long each phase of a connection may take and how much a session may use."""

from dataclasses import dataclass
from typing import Final

BUFFER_BYTES: Final = 64 * 1024
"""Held in each direction of a connection, at most about twice this."""

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_ADDRESSES: Final = 8
"""Addresses of a name that are dialled, one after the other; all of them are checked."""


LOOKUPS_EACH: Final = 4
"""Name lookups of one session at once, those that nobody waits for any more included."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. Each counts for the whole phase, so that a byte now and then extends none but the last."""

    head_s: float = 15  # until the request's head is complete
    resolve_s: float = 10
    connect_s: float = 10  # to one address
    hello_s: float = 15  # until the ClientHello is complete
    write_s: float = 120  # a peer that takes no byte for this long is disconnected
    silence_s: float = 600  # no byte in either direction


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """Bounds of one session. 0 bytes means no bound."""

    connections: int = 64
    total_bytes: int = 0
