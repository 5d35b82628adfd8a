"""Run inside a session by the agent, with the standard library only: tries to get out and prints as JSON what happened.

Each line of the result is `done` or the name of the error that stopped the attempt.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ARM = platform.machine() == "aarch64"
LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {  # x86-64, and 64-bit ARM
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
PTRACE_SEIZE = 0x4206
PR_GET_NO_NEW_PRIVS = 39  # the status file of gVisor does not say it
NAMESPACES = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "mount": 0x00020000,
    "network": 0x40000000,
    "pid": 0x20000000,
    "time": 0x00000080,
    "user": 0x10000000,
    "uts": 0x04000000,
}
FAMILIES = {"alg": 38, "bluetooth": 31, "can": 29, "packet": 17, "rds": 21, "tipc": 30, "vsock": 40, "xdp": 44}


def call(name: str, *arguments: Any) -> str:
    """Return `done` or the name of the error of a system call."""
    ctypes.set_errno(0)
    result = LIBC.syscall(
        NUMBERS[name][ARM], *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    )
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def in_child(act: Callable[..., str], *arguments: Any) -> str:
    """Return what an attempt comes to in a process of its own: it may change what this process may do afterwards."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, act(*arguments).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        outcome = answer.read()
    os.waitpid(child, 0)
    return outcome


def attempt(act: Callable[..., Any], *arguments: Any) -> str:
    """Return `done` or the name of the error of a call of Python's."""
    try:
        act(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "done"


def connect(family: int, to: Any) -> str:
    """Return what came of a connection."""
    with socket.socket(family, socket.SOCK_STREAM) as caller:
        caller.settimeout(3)
        return attempt(caller.connect, to)


def send(family: int, to: Any) -> str:
    """Return what came of a datagram."""
    with socket.socket(family, socket.SOCK_DGRAM) as caller:
        return attempt(caller.sendto, b"x", to)


def peek(path: str) -> None:
    """Read a byte. Raises OSError when there is none: the engine hides some files behind empty ones."""
    with Path(path).open("rb", buffering=0) as file:
        if not file.read(1):
            raise OSError(errno.ENODATA, "empty")


def poke(path: str) -> None:
    """Write what is there already, or nothing."""
    with Path(path).open("r+b", buffering=0) as file:
        file.write(b"\n")


def others() -> list[int]:
    """Return the processes of other users."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names only
        with suppress(OSError):
            if Path("/proc", name).stat().st_uid != os.getuid() or not owned(name):
                found.append(int(name))
    return found


def owned(pid: str) -> bool:
    """Return whether a process runs as this user."""
    line = next(line for line in Path("/proc", pid, "status").read_text().splitlines() if line.startswith("Uid:"))
    return line.split()[1] == str(os.getuid())


def each(pids: list[int], act: Callable[[int], str]) -> str:
    """Return the outcomes over all of these processes, without repeating one."""
    return " ".join(sorted({act(pid) for pid in pids}))


def on_descriptor(name: str, pid: int, *arguments: int) -> str:
    """Return what came of a call on a descriptor of a process, which any process may have where the kernel has them."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return call(name, descriptor, *arguments)


def as_32_bit() -> str:
    """Return how a process ends that makes a 32-bit system call (getpid), which would go around the filter's list."""
    if ARM:
        return "SIGSYS"
    child = os.fork()
    if child == 0:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "done"


def processes(pids: list[int]) -> dict[str, str]:
    """Try to reach the processes of the runner."""
    memory = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(memory), 8)
    found = {
        "signal": each(pids, lambda pid: attempt(os.kill, pid, 0)),
        "signal stop": each(pids, lambda pid: attempt(os.kill, pid, signal.SIGSTOP)),
        "pidfd signal": each(pids, lambda pid: on_descriptor("pidfd_send_signal", pid, 0, 0, 0)),
        "pidfd getfd": each(pids, lambda pid: on_descriptor("pidfd_getfd", pid, 0, 0)),
        "ptrace": each(pids, lambda pid: call("ptrace", PTRACE_SEIZE, pid, 0, 0)),
        "read memory": each(pids, lambda pid: call("process_vm_readv", pid, vector, 1, vector, 1, 0)),
        "kcmp": each(pids, lambda pid: call("kcmp", pid, os.getpid(), 0, 0, 0)),
        "limits": each(pids, lambda pid: attempt(resource.prlimit, pid, resource.RLIMIT_NOFILE, (9, 9))),
        "priority": each(pids, lambda pid: attempt(os.setpriority, os.PRIO_PROCESS, pid, 19)),
        "own priority": attempt(os.setpriority, os.PRIO_PROCESS, 0, -20),
        "own oom score": attempt(Path("/proc/self/oom_score_adj").write_text, "-1000"),
    }
    for name in ("environ", "mem", "maps", "auxv", "pagemap", "stack"):
        found[f"proc {name}"] = each(pids, lambda pid, name=name: attempt(peek, f"/proc/{pid}/{name}"))  # type: ignore[misc]
    for name in ("fd", "root/etc", "cwd/", "map_files"):
        found[f"proc {name}"] = each(pids, lambda pid, name=name: attempt(os.listdir, f"/proc/{pid}/{name}"))  # type: ignore[misc]
    found["proc fd open"] = each(pids, descriptors_of)
    for name in ("user", "net", "mnt"):
        found[f"proc ns {name}"] = each(pids, lambda pid, name=name: attempt(os.readlink, f"/proc/{pid}/ns/{name}"))  # type: ignore[misc]
    return found


def descriptors_of(pid: int) -> str:
    """Return what came of opening what another process has open, beside what anybody may open by its name."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names only
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    links = [f"/proc/{pid}/fd/{name}" for name in names]
    outcomes = {link: attempt(open_and_close, link) for link in links}
    return " ".join(sorted({came for link, came in outcomes.items() if came != "done" or not by_name(link)}))


def by_name(link: str) -> bool:
    """Return whether what a link of `/proc` leads to is open to everybody: by its name, or as a device such as null."""
    try:
        found = Path(link).stat()
        return bool(stat.S_ISCHR(found.st_mode) and found.st_mode & stat.S_IROTH) or (
            attempt(open_and_close, str(Path(link).readlink())) == "done"
        )
    except OSError:
        return False


def open_and_close(path: str) -> None:
    """Open a file for reading, without waiting for anybody."""
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))


def privileges() -> dict[str, str]:
    """Try to become more."""
    root = {name: in_child(attempt, getattr(os, name), *ids) for name, ids in BECOME.items()}
    namespaces = {f"unshare {name}": in_child(call, "unshare", flag) for name, flag in NAMESPACES.items()}
    sockets = {f"socket {name}": attempt(socket.socket, family, socket.SOCK_RAW) for name, family in FAMILIES.items()}
    plain = {
        name: in_child(call, name, 0, 0, 0, 0, 0)
        for name in sorted(
            set(NUMBERS) - {"pidfd_send_signal", "pidfd_getfd", "process_vm_readv", "ptrace", "kcmp", "unshare"}
        )
    }
    commands = {
        "command setpriv": ["setpriv", "--reuid=0", "true"],
        "command unshare": ["unshare", "--user", "--map-root-user", "true"],
        "command mount": ["mount", "-t", "tmpfs", "none", "/tmp"],
        "command su": ["su", "-c", "true"],
    }
    return {
        **{f"become {name}": outcome for name, outcome in root.items()},
        **namespaces,
        **sockets,
        **plain,
        "clone user": clone_user(),
        "raw socket": attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "make a device": attempt(os.mknod, "/tmp/disk", 0o60600, os.makedev(8, 0)),
        "give a file away": attempt(give_away),
        "32-bit call": as_32_bit(),
        **{name: outcome_of(command) for name, command in commands.items()},
    }


BECOME: dict[str, tuple[Any, ...]] = {
    "setuid": (0,),
    "setgid": (0,),
    "setgroups": ([0],),
    "setresuid": (10001, 10001, 10001),
    "setresgid": (10001, 10001, 10001),
}


def clone_user() -> str:
    """Return what came of a process in a user namespace of its own."""
    flags = NAMESPACES["user"] | signal.SIGCHLD
    ctypes.set_errno(0)
    child = LIBC.syscall(220 if ARM else 56, flags, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return "done" if child > 0 else errno.errorcode[ctypes.get_errno()]


def give_away() -> None:
    """Hand a file of the agent's to root."""
    path = Path("/tmp/mine")
    path.touch()
    os.chown(path, 0, 0)


def outcome_of(command: list[str]) -> str:
    """Return `done` when a command succeeds."""
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False)
    return "failed" if done.returncode else "done"


def network() -> dict[str, str]:
    """Try to reach anything over a network."""
    v4, v6 = socket.AF_INET, socket.AF_INET6
    return {
        "interfaces": " ".join(sorted(name for _, name in socket.if_nameindex())),
        "internet": connect(v4, ("93.184.216.34", 443)),
        "internet 6": connect(v6, ("2606:2800:220:1:248:1893:25c8:1946", 443)),
        "metadata": connect(v4, ("169.254.169.254", 80)),
        "metadata 6": connect(v6, ("fd00:ec2::254", 80)),
        "bridge": connect(v4, ("172.17.0.1", 2375)),
        "resolver": send(v4, ("8.8.8.8", 53)),
        "multicast": send(v4, ("224.0.0.251", 5353)),
        "broadcast": send(v4, ("255.255.255.255", 67)),
        "link-local 6": send(v6, ("ff02::1", 53)),
        "look-up": "done" if attempt(socket.getaddrinfo, "example.com", 80) == "done" else "failed",
        "foreign sockets": str(sum("@" in line or "manager" in line for line in unix_sockets())),
        **{f"store {port}": connect(v4, ("127.0.0.1", port)) for port in (2019, 2375, 4222, 5432, 6379, 8222)},
    }


def unix_sockets() -> list[str]:
    """Return the named unix sockets of this network namespace that are not of the sandbox."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return [line for line in lines if len(line.split()) > 7]


def files() -> dict[str, str]:
    """Try to reach files and sockets of others."""
    sockets = ["/jelmore/run/control.sock", "/jelmore/run/runner.sock", "/jelmore/gateway/gateway.sock", *HOST_SOCKETS]
    readable = ["/session/state/journal.jsonl", "/jelmore/run/secret", "/etc/shadow", "/proc/kcore", "/proc/kmsg"]
    writable = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
    ]
    folders = [
        "/",
        "/etc",
        "/usr/local/bin",
        "/opt/jelmore",
        "/opt/jelmore/src",
        "/session",
        "/session/state",
        "/sys/fs/cgroup",
    ]
    set_user = subprocess.run(
        ["find", "/", "-xdev", "-perm", "/6000", "-type", "f"], capture_output=True, timeout=60, check=False
    )
    devices = set(os.listdir("/dev")) - EXPECTED_DEVICES  # noqa: PTH208 - names only
    return {
        **{f"socket {path}": connect(socket.AF_UNIX, path) for path in sockets},
        **{f"read {path}": attempt(peek, path) for path in readable},
        **{f"write {path}": attempt(poke, path) for path in writable},
        **{f"create in {path}": attempt(Path(path, "probe").touch) for path in folders},
        **{f"list {path}": attempt(os.listdir, path) for path in ("/jelmore", "/session/state", "/root")},
        "link the journal": attempt(os.link, "/session/state/journal.jsonl", "/session/workspace/link"),
        "move the workspace": attempt(os.rename, "/session/workspace", "/session/moved"),
        "set-user-id files": " ".join(set_user.stdout.decode().split()),
        "devices": " ".join(sorted(devices)),
        "no new privileges": str(LIBC.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)),
    }


HOST_SOCKETS = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/jelmore/caddy/admin.sock",
]
EXPECTED_DEVICES = set(
    "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()  # noqa: SIM905
)


def main() -> None:
    """Try everything once; with `namespace`, in a user namespace of its own, which is an error where there are none."""
    pids = others()
    if sys.argv[1:] == ["namespace"] and call("unshare", NAMESPACES["user"]) != "done":
        raise SystemExit("there are no user namespaces")
    found = {"processes": processes(pids), "privileges": privileges(), "network": network(), "files": files()}
    print(json.dumps({"others": len(pids), **found}))


main()
