"""Run inside a session by the agent itself, with the standard library only: prints as JSON what it could see and do."""

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_GET_NO_NEW_PRIVS = 39


def attempt(act: Callable[..., Any], *arguments: Any) -> str:
    """Return `done`, or the name of the error that stopped it."""
    try:
        act(*arguments)
    except OSError as error:
        return type(error).__name__
    return "done"


def dial(path: str) -> None:
    """Connect to a unix socket."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(3)
        caller.connect(path)


def peek(path: str) -> None:
    """Open a file and read a byte of it."""
    with Path(path).open("rb") as file:
        file.read(1)


def status_fields(pid: str) -> dict[str, str]:
    """Return a process's status as the kernel reports it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def users(pid: str) -> list[str]:
    """Return the user ids of a process."""
    return status_fields(pid)["Uid"].split()


def variables(pid: str) -> list[str]:
    """Return the names in the environment of a process, none where it cannot be read."""
    try:
        return [each.partition("=")[0] for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if each]
    except OSError:
        return []


def everyone() -> list[str]:
    """Return every process that can be seen."""
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names only


def main() -> None:
    """Try everything once."""
    mine = str(os.getuid())
    others = [pid for pid in everyone() if mine not in users(pid)]
    sockets = [
        "/jelmore/run/control.sock",
        "/jelmore/run/runner.sock",
        "/jelmore/gateway/model.sock",
        "/jelmore/gateway/control.sock",
        "/var/run/docker.sock",
        "/run/docker.sock",
    ]
    own = status_fields("self")
    found = {
        "uids": own["Uid"].split(),
        "groups": own["Groups"].split(),
        # gVisor has no ambient capabilities, and no line about them.
        "capabilities": {name: own[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if name in own},
        "no_new_privileges": str(ctypes.CDLL(None).prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "routes": Path("/proc/net/route").read_text().splitlines()[1:],
        "resolves": attempt(socket.getaddrinfo, "jelmore.invalid", 80),
        "others": len(others),
        "environ_of_others": sorted({attempt(Path(f"/proc/{pid}/environ").read_bytes) for pid in others}),
        "variables_of_others": sorted({name for pid in others for name in variables(pid)}),
        "memory_of_others": sorted({attempt(peek, f"/proc/{pid}/mem") for pid in others}),
        "signal_to_others": sorted({attempt(os.kill, int(pid), 0) for pid in others}),
        "sockets": {path: attempt(dial, path) for path in sockets},
        "folders": {path: attempt(os.scandir, path) for path in ("/jelmore", "/session/state", "/root")},
        "writes": {
            path: attempt(Path(path, "probe").write_text, "x")
            for path in (
                "/",
                "/etc",
                "/usr",
                "/opt/jelmore",
                "/session",
                "/session/state",
                "/session/workspace",
                "/tmp",
            )
        },
        "become_root": subprocess.run(["setpriv", "--reuid=0", "true"], capture_output=True, check=False).returncode,
        "mount": subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True, check=False).returncode,
        "environment": dict(os.environ),
    }
    print(json.dumps(found))


main()
