"""Files and descriptors of local sessions."""

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jelmore_protocol.gateway import MODEL_SOCKET


def tail_of(path: Path, most_bytes: int) -> bytes:
    """Return the last bytes of a file; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most_bytes))
            return file.read(most_bytes)
    except FileNotFoundError:
        return b""


def inherited_descriptors() -> list[int]:
    """Return the inheritable descriptors besides the three standard streams, such as the lock of the data folder.

    A session that inherits that lock would keep it after this manager ends, and block the next manager.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            if int(name) > 2 and os.get_inheritable(int(name)):  # noqa: PLR2004 - the three streams
                found.append(int(name))
    return found


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises FileNotFoundError for anything else: opening a FIFO could block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # absent, or a link
        raise FileNotFoundError(path) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return os.fdopen(descriptor, "rb")


def runner_variables(folder: Path, inner: Path, gateway: Path, skills: Path | None) -> dict[str, str]:
    """Return the variables of a runner. `folder` is its session's, `inner` and `gateway` are those of its sockets.

    Links the deployment's skills into `inner`, which is removed with the run. Raises OSError.
    """
    variables = {
        "JELMORE_RUNNER_CONTROL": f"unix:{inner}/control.sock",
        "JELMORE_RUNNER_PUBLIC": f"unix:{inner}/runner.sock",
        "JELMORE_RUNNER_SECRET_FILE": f"{inner}/secret",
        "JELMORE_RUNNER_GATEWAY": f"unix:{gateway / MODEL_SOCKET}",
        "JELMORE_RUNNER_SESSION_DIR": str(folder),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    if skills is not None:
        link = inner / "skills" / ".claude" / "skills"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(skills)
        variables["JELMORE_RUNNER_SKILLS"] = str(inner / "skills")
    return variables
