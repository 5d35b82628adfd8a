"""Which versions of the protocol two sides can talk: each supports a range, and the newest common version is used."""

from typing import Final

PROTOCOL: Final = 1
"""The newest version that this package speaks."""

OLDEST_PROTOCOL: Final = 1
"""The oldest version that it still speaks. A release raises `PROTOCOL` by one and keeps the version before."""


class ProtocolError(Exception):
    """Two sides have no version in common."""


def negotiated(
    newest: int, oldest: int | None = None, *, own_newest: int = PROTOCOL, own_oldest: int = OLDEST_PROTOCOL
) -> int:
    """Return the newest version that the peer (`oldest` to `newest`) and this side speak. Raises ProtocolError.

    A peer that names no oldest version is from before ranges and speaks only its newest.
    """
    peer_oldest = newest if oldest is None else oldest
    common = min(newest, own_newest)
    if common < max(peer_oldest, own_oldest):
        raise ProtocolError(
            f"this side speaks protocol {own_oldest} to {own_newest}, the other {peer_oldest} to {newest}"
        )
    return common
