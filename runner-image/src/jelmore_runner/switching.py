"""Runs the runner and the agent as two users where the kernel has no ambient capabilities, as gVisor has none.

There, a program that is not root has lost its capabilities after each exec, so the wrappers in `/opt/jelmore/bin`
cannot change from `runner` to `agent`. `bin/runner` sees this and starts this process as root. It becomes `runner`
before it does anything else, keeps the capabilities, and starts each wrapper as `agent`.
"""

import ctypes
import errno
import os
import pwd
import subprocess
from typing import Any, Final

from jelmore_runner.agent_user import AGENT, agent_uid

_WRAPPERS: Final = ("/opt/jelmore/bin/claude", "/opt/jelmore/bin/agent")
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_DROP: Final = 24
_MAX_CAPABILITIES: Final = 64
_CAPABILITIES_V3: Final = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Set(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


class _Popen(subprocess.Popen[Any]):
    """Starts the wrappers as the agent. `asyncio` and the SDK start their processes with `subprocess.Popen` too."""

    def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
        super().__init__(args, *rest, **{**options, **as_agent(args)})


def as_agent(args: Any) -> dict[str, Any]:
    """Return the options of `Popen` that start this command as the agent, none for a command that is no wrapper.

    A wrapper sees by its own user that it need not switch: a variable could be set from outside, and it would then
    start the agent as `runner`, with all capabilities.
    """
    first = args if isinstance(args, str) else next(iter(args), "")
    if str(first) not in _WRAPPERS:
        return {}
    uid = agent_uid()  # with None, `Popen` would not switch at all; a name that is not there is an error
    return {"user": AGENT if uid is None else uid, "group": AGENT, "extra_groups": []}


def become(user: str) -> None:
    """Change this process from root to `user` with its capabilities, and let wrappers start as the agent.

    Must come before the first thread and before modules that import `Popen` by name. Raises OSError.
    """
    found = pwd.getpwnam(user)
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep the capabilities")
    os.initgroups(user, found.pw_gid)
    os.setresgid(found.pw_gid, found.pw_gid, found.pw_gid)
    os.setresuid(found.pw_uid, found.pw_uid, found.pw_uid)
    header, sets = _Header(_CAPABILITIES_V3, 0), (_Set * 2)()
    _checked(libc.capget(ctypes.byref(header), sets), "read the capabilities")
    for each in sets:
        each.effective, each.inheritable = each.permitted, 0
    _checked(libc.capset(ctypes.byref(header), sets), "use the capabilities")
    _drop_bounding_set(libc)
    subprocess.Popen = _Popen  # type: ignore[misc]


def _drop_bounding_set(libc: ctypes.CDLL) -> None:
    """Let no program that this process starts gain a capability. Those that it has itself stay."""
    for number in range(_MAX_CAPABILITIES):
        if libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            if number and ctypes.get_errno() == errno.EINVAL:  # the kernel knows no more of them
                return
            _checked(-1, f"drop capability {number} of the bounding set")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"could not {what}: {os.strerror(number)}")
