"""The user that the agent of this sandbox runs as."""

import pwd
from pathlib import Path
from typing import Final

AGENT: Final = "agent"
"""The name of the user, and of its group, which is the same in every sandbox."""

_FILE: Final = Path("/var/lib/extrausers/uid")
"""Written by `bin/agent-user` before the runner starts. Only root can change it."""


def agent_uid(file: Path = _FILE) -> int | None:
    """Return the agent's user id, None where it has no user of its own (local sessions)."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        pass
    try:
        return pwd.getpwnam(AGENT).pw_uid
    except KeyError:
        return None
