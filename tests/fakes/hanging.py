"""A part that hangs: it is there, takes calls, and answers none of them."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, cast


class Hanging:
    """A port whose calls never return while `hangs` is true; calls made meanwhile stay unanswered for ever."""

    def __init__(self, port: object) -> None:
        self.hangs = False
        self._port = port

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        return self._call(value) if inspect.iscoroutinefunction(value) else value

    def _call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*values: Any, **named: Any) -> Any:
            if self.hangs:
                await asyncio.Event().wait()
            return await call(*values, **named)

        return called


def hanging[T](port: T) -> tuple[T, Hanging]:
    """Return the port as what it is, and the switch that makes it hang."""
    switch = Hanging(port)
    return cast("T", switch), switch
