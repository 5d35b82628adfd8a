"""Waiting for something to become true, with a deadline instead of a sleep."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool] | bool], *, seconds: float = 30, what: str = "") -> None:
    """Return when `condition` holds; fail when it does not within the deadline."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                held = condition()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not happen within {seconds} s: {what or condition}") from None


async def first[T](items: AsyncIterator[T], count: int, *, seconds: float = 10) -> list[T]:
    """Return the next `count` items; fail when they do not come within the deadline."""
    found: list[T] = []
    try:
        async with asyncio.timeout(seconds):
            while len(found) < count:
                found.append(await anext(items))
    except TimeoutError:
        raise AssertionError(f"only {len(found)} of {count} came within {seconds} s: {found}") from None
    return found


async def joined(pieces: AsyncIterable[bytes]) -> bytes:
    """Return everything that comes in pieces."""
    return b"".join([piece async for piece in pieces])
