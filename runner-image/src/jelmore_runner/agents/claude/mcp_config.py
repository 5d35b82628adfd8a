"""The file with Claude Code's MCP servers, in the agent's home."""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_PREFIX: Final = ".jelmore-mcp-"
_MODE: Final = 0o640  # the runner's file; the agent is in its group


def write_mcp_config(home: Path, servers: Mapping[str, Any]) -> Path | None:
    """Replace the file of an earlier start; return the new one, None when there are no servers. Raises OSError.

    The agent can write to its home: the name is new and random, and no link is followed.
    """
    for old in home.glob(f"{_PREFIX}*.json"):
        with suppress(OSError):
            old.unlink()
    if not servers:
        return None
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=".json", dir=home)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, _MODE)
        json.dump({"mcpServers": dict(servers)}, file)
    return Path(name)
