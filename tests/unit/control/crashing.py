"""Ports that break at a chosen call: the manager dies there, or the call fails, before or after it took effect."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Any, cast

from jelmore.session.errors import DependencyError


class Fault(StrEnum):
    """What goes wrong at the chosen call."""

    DIES_BEFORE = "the manager dies before"
    DIES_AFTER = "the manager dies after"
    FAILS_BEFORE = "the call fails without effect"
    FAILS_AFTER = "the call took effect but its answer is lost"


class Fuse:
    """Counts the calls of one manager and makes one of them go wrong. A dead manager's calls never return."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.died = asyncio.Event()
        self._chosen = 0
        self._fault: Fault | None = None
        self._counting = False

    def arm(self, number: int, fault: Fault | None) -> None:
        """Count calls from now on; the call of that number, from 1, goes wrong."""
        self._chosen, self._fault, self._counting = number, fault, True

    def disarm(self) -> None:
        """Count no more; what has not gone wrong by now never will."""
        self._counting = False

    def die(self) -> None:
        """Let no call of this manager return or take effect any more."""
        self.died.set()

    async def before(self, name: str) -> bool:
        """Stand before a call; return whether it is the chosen one."""
        chosen = False
        if self._counting and not self.died.is_set():
            self.calls.append(name)
            chosen = len(self.calls) == self._chosen
        await self._maybe(name, chosen, Fault.DIES_BEFORE, Fault.FAILS_BEFORE)
        return chosen

    async def after(self, name: str, chosen: bool) -> None:
        """Stand after a call that took effect."""
        await self._maybe(name, chosen, Fault.DIES_AFTER, Fault.FAILS_AFTER)

    async def _maybe(self, name: str, chosen: bool, dies: Fault, fails: Fault) -> None:
        if chosen and self._fault is dies:
            self.die()
        if self.died.is_set():
            await asyncio.Future()
        if chosen and self._fault is fails:
            raise DependencyError("test", f"{name} was made to fail")


IDLE_CALLS = frozenset({"outbox.take", "outbox.wait", "events.connect", "leases.take", "leases.unfollowed"})
"""Calls that recur for ever while nothing happens: they take effect on nothing that lasts, and are not counted."""


class _Guarded:
    def __init__(self, port: object, name: str, fuse: Fuse) -> None:
        self._port = port
        self._name = name
        self._fuse = fuse

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        label = f"{self._name}.{attribute}"
        if inspect.isasyncgenfunction(value):
            return self._stream(value, label)
        return self._call(value, label) if inspect.iscoroutinefunction(value) else value

    def _call(self, call: Callable[..., Any], label: str) -> Callable[..., Any]:
        async def guarded(*values: Any, **named: Any) -> Any:
            if label in IDLE_CALLS:
                if self._fuse.died.is_set():
                    await asyncio.Future()
                return await call(*values, **named)
            chosen = await self._fuse.before(label)
            result = await call(*values, **named)
            await self._fuse.after(label, chosen)
            return result

        return guarded

    def _stream(self, call: Callable[..., Any], label: str) -> Callable[..., Any]:
        async def guarded(*values: Any, **named: Any) -> AsyncIterator[Any]:
            stream = call(*values, **named)
            try:
                async for item in stream:
                    if self._fuse.died.is_set():
                        await asyncio.Future()
                    yield guard(item, "outbox", self._fuse) if label == "outbox.hold" else item
            finally:
                await stream.aclose()

        return guarded


def guard[T](port: T, name: str, fuse: Fuse) -> T:
    """Return `port` with every call passing the fuse."""
    return cast("T", _Guarded(port, name, fuse))
