"""What the command and the client add: their start, and each call beside the same one over bare HTTP."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jelmore_client import AsyncJelmore
from tests.bench.table import Row
from tests.bench.world import World, path_of

_JELMORE: Final = str(Path(sys.executable).with_name("jelmore"))


async def using(world: World) -> list[Row]:
    """`jelmore --help` and `jelmore ls` beside an empty program; a call of the client beside bare HTTP."""
    stack = world.api.stack
    environment = {**os.environ, "JELMORE_URL": stack.url, "JELMORE_API_KEY": stack.api_key}
    session = await world.create()
    empty: list[float] = []
    explained: list[float] = []
    listed: list[float] = []
    bare: list[float] = []
    called: list[float] = []
    async with AsyncJelmore(stack.url, api_key=stack.api_key) as client:
        await client.sessions.get(session["id"])  # both have a connection before the first measurement
        async for _ in world.each("command"):
            empty.append(await _run_ms([sys.executable, "-c", "pass"], environment))
            explained.append(await _run_ms([_JELMORE, "--help"], environment))
            listed.append(await _run_ms([_JELMORE, "ls"], environment))
            began = time.perf_counter()
            (await world.api.http.get(path_of(session, ""))).raise_for_status()
            bare.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            await client.sessions.get(session["id"])
            called.append((time.perf_counter() - began) * 1000)
    await world.api.delete(session["id"])
    return [
        Row("jelmore --help", "ms", explained, empty, "python -c pass", limit=150, bounds="median"),
        Row("jelmore ls", "ms", listed, empty, "python -c pass", limit=300, bounds="median"),
        Row("a call of the client", "ms", called, bare, "bare HTTP"),
    ]


async def _run_ms(words: list[str], environment: Mapping[str, str]) -> float:
    """Run a program to its end and return how long it took. Raises RuntimeError when it fails."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *words, env=dict(environment), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        code = await process.wait()
    if code:
        raise RuntimeError(f"{words[0]} ended with {code}")
    return (time.perf_counter() - began) * 1000
