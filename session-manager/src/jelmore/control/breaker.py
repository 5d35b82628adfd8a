"""Bypasses a dependency that hangs, so that callers do not wait for it with every call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jelmore.control.tasks import Tasks
from jelmore.session.errors import DependencyError, JelmoreError

_log = structlog.get_logger(__name__)

READ_S: Final = 0.25
"""How long a request waits for a cache. Reading PostgreSQL instead takes about a millisecond."""

_PROBE_S: Final = 5.0
_PAUSE_S: Final = 0.5


class CircuitBreaker:
    """Opens when a call times out. While it is open, calls fail at once.

    A background task probes the dependency and closes the breaker at the first answer, so no caller has to wait to
    find out. Errors that return quickly do not open it: callers do not wait for them.
    """

    def __init__(self, name: str, probe: Callable[[], Awaitable[None]], tasks: Tasks) -> None:
        self._name = name
        self._probe = probe
        self._tasks = tasks
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether calls are bypassed at present."""
        return self._is_open

    def require(self) -> None:
        """Raise DependencyError while calls are bypassed."""
        if self._is_open:
            raise DependencyError(self._name, "it did not answer in time and is bypassed until it answers")

    async def call[T](self, work: Callable[[], Awaitable[T]], *, patience_s: float = READ_S) -> T:
        """Return the result of `work`. Raises its errors; DependencyError after `patience_s`, or at once while open."""
        self.require()
        try:
            async with asyncio.timeout(patience_s):
                return await work()
        except TimeoutError:
            self._open()
            raise DependencyError(self._name, f"no answer within {patience_s:g} s") from None

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            _log.warning("dependency_bypassed", dependency=self._name)
            self._tasks.start(f"probe-{self._name}", self._close_when_it_answers())

    async def _close_when_it_answers(self) -> None:
        try:
            while not await self._answers():
                await asyncio.sleep(_PAUSE_S)
            _log.info("dependency_back", dependency=self._name)
        finally:
            self._is_open = False  # also if this task fails: the next call that hangs opens the breaker again

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_S):
                await self._probe()
        except (JelmoreError, TimeoutError):
            return False
        return True
