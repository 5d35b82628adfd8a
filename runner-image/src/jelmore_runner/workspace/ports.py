"""Lists the agent's listening TCP ports. As the agent's user this can see which of its processes holds a socket."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jelmore_runner import processes
from jelmore_runner.listening_sockets import listening_sockets, socket_holders, target_of
from jelmore_runner.workspace.answers import Answer

MAX_PORTS: Final = 100
MAX_COMMAND_CHARACTERS: Final = 200


def ports(_: Path, __: Mapping[str, Any], answer: Answer) -> None:
    """Answer with `ports`: number, command and start (seconds since the epoch) of the process, in order.

    The agent could change this answer; who may be connected to is decided by the runner alone.
    """
    runner = os.getppid()
    sockets = listening_sockets()
    pids = processes.descendants(runner, without=[os.getpid()])
    holders = socket_holders({each.inode for each in sockets}, pids)
    found = {}
    for port in sorted({each.port for each in sockets if each.inode in holders}):
        target = target_of(sockets, port)
        if target is not None and (pid := holders.get(target.sockets[0].inode)) is not None:
            found[port] = {"port": port, "command": _command(pid), "since": _started_at(pid)}
    answer.begin(ports=list(found.values())[:MAX_PORTS])


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "replace")[:MAX_COMMAND_CHARACTERS]


def _started_at(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return round(time.time() - age_s, 1)
