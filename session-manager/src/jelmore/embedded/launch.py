"""The launcher of the quick start's servers: a script that sets up its process and then executes the server.

Prevents servers that outlive a killed quick start and hold its data folder. It is not a fork hook, because a hook runs
between fork and exec of a process with threads, where Python code may hang.
"""

import ctypes
import os
import shutil
import signal
import sys
from typing import Final

PLAIN: Final = "plain"
NOT_ROOT: Final = "not-root"
SWITCHED: Final = "switched"
"""Ways to run: unchanged; as root with another name in a user namespace; as another user without namespaces."""

STAND_IN_ID: Final = 1
"""The user and group `daemon`. Every Unix has this name, and PostgreSQL looks up the name of its own user."""

_PR_SET_PDEATHSIG: Final = 1


def _appear_unprivileged() -> None:
    """Enter a user namespace in which root is named `daemon`. Files keep their owner. Raises OSError."""
    os.unshare(os.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{STAND_IN_ID} 0 1"), ("gid_map", f"{STAND_IN_ID} 0 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs 10 ms of start
            file.write(text)


def _switched(command: list[str], death_signal: str) -> list[str]:
    """Return the command that runs `command` as `daemon`, with the right to enter folders closed to it and no other."""
    setpriv = shutil.which("setpriv") or "setpriv"
    rights = ["--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override"]
    user = [f"--reuid={STAND_IN_ID}", f"--regid={STAND_IN_ID}", "--clear-groups"]
    return [setpriv, *user, *rights, f"--pdeathsig={death_signal}", "--", *command]


def main() -> None:
    """Execute `argv[4:]` in the way `argv[3]`. It gets the signal `argv[2]` when the process `argv[1]` dies."""
    parent, death_signal, way, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec keeps ignored signals
    if way == NOT_ROOT:
        _appear_unprivileged()
    elif way == SWITCHED:
        command = _switched(command, signal.Signals(death_signal).name.removeprefix("SIG"))
    # Last, because a change of user clears it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the call above
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - there is no shell to avoid


if __name__ == "__main__":
    main()
