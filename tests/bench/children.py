"""Programs of their own beside a benchmark, which say JSON lines and are sent words."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.stack import ROOT

_CHILD_S: Final = 120
_LINE_BYTES: Final = 64 * 1024 * 1024


class Child:
    """A running child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def receive(self) -> dict[str, Any]:
        """Return what it says next. Raises RuntimeError when it has ended, TimeoutError."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_CHILD_S):
            while True:
                line = await self._process.stdout.readline()
                if not line:
                    raise RuntimeError(f"a child ended with {await self._process.wait()}")
                if line.startswith(b"{"):
                    said: dict[str, Any] = json.loads(line)
                    return said

    async def send(self, word: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Run `python -m MODULE ARGUMENTS` for the block, and wait for its end; after an error it is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        limit=_LINE_BYTES,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Child(process)
        async with asyncio.timeout(_CHILD_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
