"""A stdio MCP server of the official package, for tests: `python stdio_clock.py`."""

import asyncio
import os
import sys
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("clock")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def pid() -> int:
    """Return the id of this process."""
    return os.getpid()


@server.tool()
def variable(name: str) -> str:
    """Return a variable of the environment."""
    return os.environ.get(name, "")


@server.tool()
def shout(text: str) -> str:
    """Print to standard error."""
    print(text, file=sys.stderr, flush=True)
    return "printed"


@server.tool()
def child() -> int:
    """Start a process that lives on; return its id."""
    return os.posix_spawn("/bin/sleep", ["sleep", "300"], os.environ)


@server.tool()
def take(size: int) -> str:
    """Use so many bytes of memory."""
    try:
        return str(len(b"x" * size))
    except MemoryError:
        return "no memory"


@server.tool()
async def count(context: Context[Any], pause_s: float) -> str:
    """Report progress, wait, and end."""
    await context.report_progress(1, 2)
    await asyncio.sleep(pause_s)
    return "counted"


@server.tool()
def leave() -> str:
    """End this process."""
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
