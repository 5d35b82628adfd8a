"""Redis: how many requests each API key has left, shared by all managers."""

from typing import Protocol


class RateStore(Protocol):
    """One token bucket per key: bursts of a minute's worth, refilled evenly."""

    async def take(self, key: str, per_minute: int) -> float:
        """Take one request from the key's bucket; return how many are left, negative when there was none to take.

        -0.25 means that a quarter of a request was missing. A call that is repeated may take twice.
        """

    async def close(self) -> None:
        """Release connections."""
