"""A program in a terminal of tmux: what a person sees, as text, and what they type."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

PATIENCE_S = 60.0

needs_tmux = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed; scripts/test-tools does it"
)


class Tmux:
    """One window on a tmux server of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def command(self, *words: str) -> str:
        """Return what a tmux command prints."""
        process = await asyncio.create_subprocess_exec(
            "tmux", "-S", str(self._socket), *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            out, error = await process.communicate()
        if process.returncode:
            raise AssertionError(f"tmux {words[0]}: {error.decode()}")
        return out.decode()

    async def screen(self) -> str:
        """Return what is to be seen now."""
        return await self.command("capture-pane", "-p", "-t", "0")

    async def type(self, *keys: str) -> None:
        """Press keys, by tmux's names (`Enter`, `C-c`), or type texts."""
        await self.command("send-keys", "-t", "0", *keys)

    async def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        await self.command("resize-window", "-t", "0", "-x", str(columns), "-y", str(rows))

    async def until(self, condition: Callable[[str], bool]) -> str:
        """Return the screen as soon as it fits.

        On a busy machine tmux 3.3a sometimes misses that its command has ended, which stays a zombie: remind it.
        """
        server = int(await self.command("display-message", "-p", "#{pid}"))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition(seen := await self.screen()):
                    await asyncio.sleep(0.1)
                    os.kill(server, signal.SIGCHLD)
        except TimeoutError:
            raise AssertionError(f"the screen shows\n{await self.screen()}") from None
        return seen


@asynccontextmanager
async def tmux(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, columns: int = 120, rows: int = 32
) -> AsyncIterator[Tmux]:
    """Run a command in a new window; the window stays when the command ends."""
    socket = Path("/tmp") / f"jt-{uuid4().hex[:8]}"
    window = Tmux(socket)
    values = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    size = ("-x", str(columns), "-y", str(rows))
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        "tmux", "-S", str(socket), "-f", "/dev/null", "new-session", "-d", *size, "-c", str(folder), *values,
        "--", *command, env={**kept, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"},
    )  # fmt: skip
    assert await process.wait() == 0
    try:
        await window.command("set-option", "-g", "remain-on-exit", "on")
        yield window
    finally:
        await window.command("kill-server")
        socket.unlink(missing_ok=True)
