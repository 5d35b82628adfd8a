"""Runs the parts of one exchange beside each other: the first that ends, ends it."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_of(**parts: Coroutine[Any, Any, None]) -> None:
    """Run all parts until the first one ends; cancel the others, and raise its error."""
    tasks = [asyncio.create_task(part, name=f"port {name}") for name, part in parts.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure
