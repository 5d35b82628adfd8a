"""Programs that take all that a session may have of one resource."""

import base64
from typing import Final

from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.support.engine_relay import OCI_RUNTIME

MIB: Final = 1024**2
IS_GVISOR: Final = OCI_RUNTIME != DEFAULT_RUNTIME
LIMITS: Final = {"cpus": 1.0, "memory_bytes": (2048 if IS_GVISOR else 512) * MIB, "pids": 200}
"""Of the session in which they go off. In gVisor, a process that was just forked uses 3 MiB."""

BOMB_S: Final = 20 if IS_GVISOR else 7
"""In gVisor, a fork takes 30 ms on a busy machine."""

_START: Final = "import os, signal, time\nuntil = time.monotonic() + {seconds}\ndid = 0\n"
_END: Final = "print('did', did)\n"
BOMBS: Final = {
    "processor": (
        (
            "children = []\n"
            "for _ in range(4):\n"
            "    children.append(os.fork())\n"
            "    if not children[-1]:\n"
            "        while True: pass\n"
            "while time.monotonic() < until: did += 1\n"
            "for child in children: os.kill(child, signal.SIGKILL)\n"
        ),
        100_000,
    ),
    "processes": (
        (
            "children = []\n"
            "while time.monotonic() < until:\n"
            "    try:\n"
            "        child = os.fork()\n"
            "    except OSError:\n"
            "        did += 1\n"
            "        time.sleep(0.001)\n"
            "        continue\n"
            "    if not child: time.sleep(3600)\n"
            "    children.append(child)\n"
            "for child in children: os.kill(child, signal.SIGKILL)\n"
        ),
        100,
    ),
    "memory": (
        (
            f"taken = [bytearray({MIB}) for _ in range(200)]\n"
            "while time.monotonic() < until:\n"
            "    for each in taken: each[::4096] = os.urandom(len(each[::4096]))\n"
            "    did += 1\n"
        ),
        2,
    ),
    "disk": (
        (
            "while time.monotonic() < until:\n"
            "    with open('big', 'wb') as file:\n"
            f"        for _ in range(32): did += file.write(b'x' * {MIB})\n"
            "        file.flush()\n"
            "        os.fsync(file.fileno())\n"
            "os.unlink('big')\n"
        ),
        32 * MIB,
    ),
}
"""What runs inside, and how much it must have done: a bomb that did not go off shows nothing."""


def command(bomb: str, seconds: float) -> str:
    """Return a shell's command that lets a bomb go off for so long, and then prints `did` and how much it did."""
    program = _START.format(seconds=seconds) + BOMBS[bomb][0] + _END
    return f"echo {base64.b64encode(program.encode()).decode()} | base64 -d | python3 - 2>&1"
