"""Commands that speak another protocol on standard input and output: mcp, acp."""

import sys
from importlib.util import find_spec

from jelmore_client.cli.app import FAILED, OK, USAGE, command, server
from jelmore_client.cli.printing import say


@command("mcp")
def mcp() -> int:
    """Serve MCP tools on standard input and output: another agent starts, prompts, answers and stops sessions."""
    if not _installed("mcp", "mcp") or not _spoken_to():
        return USAGE
    from jelmore_client.bridges.mcp import serve

    chosen = server()
    import asyncio

    asyncio.run(serve(chosen.url, chosen.api_key))
    return OK


@command("acp")
def acp() -> int:
    """Serve the Agent Client Protocol on standard input and output: an editor talks to sessions."""
    if not _installed("acp", "acp") or not _spoken_to():
        return USAGE
    from jelmore_client.bridges.acp import serve

    chosen = server()
    import asyncio

    return OK if asyncio.run(serve(chosen.url, chosen.api_key)) else FAILED


def _spoken_to() -> bool:
    """Return whether another program can be at both ends; a file or /dev/null in place of one cannot be waited for.

    A person at a terminal reads what it waits for.
    """
    import os
    import stat

    if sys.stdin.isatty():
        say("this speaks a protocol with another program, which starts it as docs/editors.md says; Ctrl-C ends it")
    for number in (0, 1):
        mode = os.fstat(number).st_mode
        if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(number)):
            say("error: standard input and output are another program's: let it start this as docs/editors.md says")
            return False
    return True


def _installed(module: str, extra: str) -> bool:
    if find_spec(module) is not None:
        return True
    say(f"error: this needs an extra: pip install 'jelmore-client[cli,{extra}]'")
    return False
