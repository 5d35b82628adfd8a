"""Runs the parts of one exchange beside each other: the first that ends, ends it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


async def first_of(
    exchange: str, parts: Mapping[str, Coroutine[Any, Any, Any]], rank: Callable[[BaseException], int] = lambda _: 0
) -> None:
    """Run all parts until the first one ends; cancel the others, and wait for them. Tasks have the names of both.

    Raises the error of a part. Of errors that occur together, the one of the lowest `rank`, else of the earlier part.
    """
    tasks = [asyncio.create_task(part, name=f"{exchange} {name}") for name, part in parts.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    failures = [failure for task in tasks if not task.cancelled() and (failure := task.exception()) is not None]
    for failure in sorted(failures, key=rank):
        raise failure
