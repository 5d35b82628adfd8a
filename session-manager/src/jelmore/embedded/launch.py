"""The few lines between the quick start and a server: run as a script, they become the server.

Done here and not in a fork hook, because a hook runs between fork and exec of a process that has threads, where Python
code may hang. The failure this prevents: servers that outlive a killed quick start and hold its data folder.
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
"""Ways to run: as we are; as root who does not look like it; as another user, where namespaces are forbidden."""

STAND_IN_ID: Final = 1
"""The user and group `daemon`: every Unix has the name, and PostgreSQL looks its own user's name up."""

_PR_SET_PDEATHSIG: Final = 1


def _appear_unprivileged() -> None:
    """Enter a user namespace where our root is called `daemon`; files keep their owner. Raises OSError."""
    os.unshare(os.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{STAND_IN_ID} 0 1"), ("gid_map", f"{STAND_IN_ID} 0 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs 10 ms of start
            file.write(text)


def _switched(command: list[str], death_signal: str) -> list[str]:
    """Return `command` run as `daemon`, able to walk through folders that are closed to it, and no more."""
    setpriv = shutil.which("setpriv") or "setpriv"
    rights = ["--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override"]
    user = [f"--reuid={STAND_IN_ID}", f"--regid={STAND_IN_ID}", "--clear-groups"]
    return [setpriv, *user, *rights, f"--pdeathsig={death_signal}", "--", *command]


def main() -> None:
    """Become `argv[4:]`, which dies by signal `argv[2]` when the process `argv[1]` does, run as `argv[3]` says."""
    parent, death_signal, way, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec keeps what is ignored
    if way == NOT_ROOT:
        _appear_unprivileged()
    elif way == SWITCHED:
        command = _switched(command, signal.Signals(death_signal).name.removeprefix("SIG"))
    # Last, because a change of identity clears it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - there is no shell to avoid


if __name__ == "__main__":
    main()
