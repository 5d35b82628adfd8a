"""What the tests of package managers share: a host of files, and a command with the variables of a session."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Final

from jelmore_runner.egress import proxy_environment
from tests.integration.gateway.egress_world import Handler, World, hang_up

TOOL_S: Final = 120


def files(folder: Path) -> Handler:
    """Return a handler that serves the files of a folder."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = folder / head.split()[1].decode().lstrip("/")
        body = path.read_bytes() if path.is_file() else b""
        status = b"200 OK" if path.is_file() else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        await hang_up(writer)

    return handle


async def run(world: World, command: list[str], folder: Path, **more: str) -> tuple[int, str]:
    """Return the exit code of a command with the variables of a session, and what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        **proxy_environment(world.port),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(TOOL_S):
        printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode("utf-8", "replace")


def works(command: list[str]) -> bool:
    """Return whether a command is here and can be run."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
