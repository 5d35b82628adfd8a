"""An event loop whose time passes only when everything waits: hours of timers run in milliseconds, and alike each time.

Only for tests without real I/O: a loop that waited for a socket would race ahead of it.
"""

import asyncio
import selectors
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class _InstantSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type,unused-ignore]
    """Instead of waiting, reports how long the loop would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(5)  # another thread may still wake the loop
            if not ready:
                raise RuntimeError("every task waits, and nothing will ever wake one")
            return ready
        ready = super().select(0)
        if not ready and timeout > 0:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop on its own time, which starts at 0."""

    def __init__(self) -> None:
        self._instant = _InstantSelector()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now_s


class VirtualClock:
    """The `Clock` port on the running loop's time."""

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())
