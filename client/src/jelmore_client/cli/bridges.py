"""Commands that speak another protocol on standard input and output: mcp, acp."""

from importlib.util import find_spec

from jelmore_client.cli.app import OK, USAGE, command, server
from jelmore_client.cli.printing import say


@command("mcp")
def mcp() -> int:
    """Serve MCP tools on standard input and output: another agent starts, prompts, answers and stops sessions."""
    if not _installed("mcp", "mcp"):
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

    asyncio.run(serve(chosen.url, chosen.api_key))
    return OK


def _spoken_to() -> bool:
    """Return whether an editor can be at both ends; a file in place of one cannot be waited for."""
    import os
    import stat

    if not any(stat.S_ISREG(os.fstat(each).st_mode) for each in (0, 1)):
        return True
    say("error: standard input and output are an editor's: start it as docs/editors.md says, not with a file")
    return False


def _installed(module: str, extra: str) -> bool:
    if find_spec(module) is not None:
        return True
    say(f"error: this needs an extra: pip install 'jelmore-client[cli,{extra}]'")
    return False
