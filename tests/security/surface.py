"""Run inside a session by the agent, with the standard library only: tries what `inside.py` does not have.

Every system call that the sandbox's list does not name, every family of sockets, files of the kernel that could be
written, and ways to make another process do something. Prints as JSON what came of each attempt.
"""

import array
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
F_SETSIG, SCM_CREDENTIALS = 10, 2
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
CALL_S = 5
"""A call that has not answered by then has been carried out: all that are refused answer at once."""


def attempt(act: Callable[..., Any], *arguments: Any) -> str:
    """Return `done` or the name of the error of a call."""
    try:
        act(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "done"


def in_child(act: Callable[[], str], within_s: int = CALL_S) -> str:
    """Return what an attempt comes to in a process of its own: `killed` when it did not survive it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(within_s)
        os.write(writing, act().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        outcome = answer.read()
    os.waitpid(child, 0)
    return outcome or "killed"


def number(of: int) -> str:
    """Return what came of a system call without arguments."""
    ctypes.set_errno(0)
    return "done" if LIBC.syscall(of, 0, 0, 0, 0, 0, 0) >= 0 else errno.errorcode[ctypes.get_errno()]


def calls(numbers: list[int]) -> dict[str, str]:
    """Try system calls by number, all but those that would end this program if they were allowed."""
    return {f"call {each}": in_child(lambda each=each: number(each)) for each in numbers}  # type: ignore[misc]


def sockets() -> dict[str, str]:
    """Return which families of sockets there are, and which protocols of netlink."""
    families = {
        family
        for family in range(64)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
        if attempt(lambda f=family, k=kind: socket.socket(f, k).close()) == "done"
    }
    netlink = {
        protocol
        for protocol in range(32)
        if attempt(lambda p=protocol: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, p).close()) == "done"
    }
    return {"families": " ".join(map(str, sorted(families))), "netlink": " ".join(map(str, sorted(netlink)))}


def writable(top: str, most_s: float = 60) -> str:
    """Return the files below a folder that can be opened for writing, up to ten of them."""
    found: list[str] = []
    until = time.monotonic() + most_s
    for folder, _, names in os.walk(top):
        for name in names:
            path = f"{folder}/{name}"
            with suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY))
                found.append(path)
        if len(found) >= 10 or time.monotonic() > until:
            break
    return " ".join(found)


def as_somebody_else() -> str:
    """Return what came of a claim towards a peer that this process is root's."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        root = [(socket.SOL_SOCKET, SCM_CREDENTIALS, struct.pack("3i", 1, 0, 0))]
        return attempt(one.sendmsg, [b"x"], root)


def signal_by_descriptor(pids: list[int]) -> str:
    """Have the kernel kill other processes when a socket becomes readable; a test sees whether they live."""
    done = set()
    for pid in pids:
        one, other = socket.socketpair()
        with one, other:
            with suppress(OSError):
                fcntl.fcntl(one, fcntl.F_SETOWN, pid)
                fcntl.fcntl(one, F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            other.send(b"x")
        done.add(attempt(os.kill, pid, 0))
    return " ".join(sorted(done))


def raise_limit() -> None:
    """Raise a limit of this process beyond its hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(0, resource.RLIMIT_NOFILE, (hard + 1, hard + 1))


def real_time() -> None:
    """Take precedence on the processor over everything on the host."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def first_on_the_disk() -> str:
    """Return what came of asking for real-time precedence on the disk."""
    ctypes.set_errno(0)
    result = LIBC.syscall(IOPRIO_SET[platform.machine()], 1, 0, 1 << 13)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def gain_by_attribute() -> None:
    """Give an own program capabilities."""
    copy = Path("/session/workspace/true")
    shutil.copy("/usr/bin/true", copy)
    try:
        value = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
        os.setxattr(copy, "security.capability", value)
    finally:
        copy.unlink()


def device(name: str) -> str:
    """Return what came of making a device in a folder and opening it."""
    path = Path(name, "device")
    try:
        made = attempt(os.mknod, path, 0o60666, os.makedev(7, 0))
        return made if made != "done" else f"made, {attempt(os.open, path, os.O_RDONLY)}"
    finally:
        path.unlink(missing_ok=True)


def others() -> list[int]:
    """Return the processes of other users."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names only
        with suppress(OSError):
            line = next(each for each in Path("/proc", name, "status").read_text().splitlines() if each[:4] == "Uid:")
            if line.split()[1] != str(os.getuid()):
                found.append(int(name))
    return found


def tricks(pids: list[int]) -> dict[str, str]:
    """Try what needs more than one call."""
    return {
        "credentials of root": as_somebody_else(),
        "signal by descriptor": signal_by_descriptor(pids),
        "more open files": attempt(raise_limit),
        "real-time scheduling": attempt(real_time),
        "real-time disk": first_on_the_disk(),
        "the clock": attempt(time.clock_settime, time.CLOCK_REALTIME, time.time()),
        "capabilities of a file": attempt(gain_by_attribute),
        "trusted attribute": attempt(os.setxattr, "/session/workspace", "trusted.x", b"x"),
        "device in /tmp": device("/tmp"),
        "device in the workspace": device("/session/workspace"),
        "terminal of the runner": attempt(fcntl.ioctl, 0, 0x5412, array.array("b", b"x")),
    }


def main() -> None:
    """Try everything once. The argument has the numbers of the system calls."""
    found = {
        **calls(json.loads(sys.argv[1])),
        **sockets(),
        **{
            f"writable below {top}": writable(top)
            for top in ("/proc/sys", "/proc/irq", "/proc/bus", "/sys", "/dev/shm")
        },
        **tricks(others()),
    }
    print(json.dumps(found))


main()
