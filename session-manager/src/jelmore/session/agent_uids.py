"""Which user id of the engine's host the agent of a session runs as. Pure.

The kernel counts some resources per user id: inotify instances and watches, pending signals, epoll watches, pages of
pipes, descriptors in flight. With one id for all agents, one session could use them up for all others.
"""

import hashlib
import re
from typing import Final
from uuid import UUID

AGENT_UIDS: Final = range(1_900_000, 2_097_152)
"""Debian's users end below 60,000 and systemd's at 65,519; subordinate ids begin at 100,000, 65,536 for each user.
2,097,151 is the greatest id that every form of tar archive can hold."""

LOWEST_UID: Final = 20_000
"""Below it are users of systems and images, such as the runner's. `runner-image/bin/agent-user` has the same bound."""

STDIO_SERVERS: Final = range(20_000, 30_000)
"""The users of stdio MCP servers, which the deployment runs on the same kernel (`jelmore_gateway.stdio`). When such a
server ends, it ends every process of its user."""

HIGHEST_UID: Final = 2**31 - 1
OFF: Final = "off"
_FORM: Final = re.compile("([0-9]{1,10})-([0-9]{1,10})")


def parse_uids(text: str) -> range | None:
    """Return the ids of `FIRST-LAST`, None for `off`. Raises ValueError that says what is allowed."""
    if text == OFF:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"is neither {OFF} nor two user ids as FIRST-LAST")
    first, last = int(found[1]), int(found[2])
    if not LOWEST_UID <= first <= last <= HIGHEST_UID:
        raise ValueError(f"the user ids must be in order, and between {LOWEST_UID} and {HIGHEST_UID}")
    if first < STDIO_SERVERS.stop:
        raise ValueError(
            f"the user ids {STDIO_SERVERS[0]} to {STDIO_SERVERS[-1]} are those of stdio MCP servers: begin at "
            f"{STDIO_SERVERS.stop} or above"
        )
    return range(first, last + 1)


def agent_uid(session_id: UUID, uids: range) -> int:
    """Return the user id of a session's agent: one of `uids`, the same one each time.

    Two sessions get the same one with a probability of 1 / len(uids); they then share the kernel's counters.
    """
    return uids[int.from_bytes(hashlib.sha256(session_id.bytes).digest()[:8]) % len(uids)]
