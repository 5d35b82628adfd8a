"""Negotiation of the protocol version: each side supports a range, and the newest common version is used."""

from typing import Final

PROTOCOL: Final = 1
"""The newest supported version."""

OLDEST_PROTOCOL: Final = 1
"""The oldest supported version. A release raises `PROTOCOL` by at most one and keeps the previous version."""


class ProtocolError(Exception):
    """The two sides have no version in common."""


def negotiated(
    newest: int, oldest: int | None = None, *, own_newest: int = PROTOCOL, own_oldest: int = OLDEST_PROTOCOL
) -> int:
    """Return the newest version that the peer (`oldest` to `newest`) and this side support. Raises ProtocolError.

    `oldest` is None for peers from before version ranges: they support only `newest`.
    """
    peer_oldest = newest if oldest is None else oldest
    common = min(newest, own_newest)
    if common < max(peer_oldest, own_oldest):
        raise ProtocolError(
            f"this side speaks protocol {own_oldest} to {own_newest}, the other {peer_oldest} to {newest}"
        )
    return common
