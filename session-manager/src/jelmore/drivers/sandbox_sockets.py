"""Unix sockets that code in a sandbox made: taken from its reach, and dialled without following a link.

A sandbox writes into the folder where its runner makes the sockets. It could put a link there that leads to a
neighbour's socket, Caddy's or the engine's. So a socket is moved to a folder that only the manager reaches before
anybody dials it, and what is no socket is refused.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from jelmore.session.errors import DependencyError

INNER: Final = "box"
"""The folder that the sandbox writes to, below the one of its sockets."""

NAMES: Final = ("control.sock", "runner.sock")


def take_over(folder: Path) -> None:
    """Move the sockets that a sandbox has made to where it cannot change them. Any number of times.

    A socket that it makes anew replaces the one before. Anything but a socket is removed. Raises OSError.
    """
    for name in NAMES:
        taken = folder / f".{name}.{secrets.token_hex(4)}"
        try:
            os.rename(folder / INNER / name, taken)  # noqa: PTH104 - the name of the call is the point
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            # Checked where the sandbox cannot replace it any more.
            if stat.S_ISSOCK(taken.lstat().st_mode):
                os.rename(taken, folder / name)  # noqa: PTH104
        finally:
            with suppress(OSError):
                taken.unlink(missing_ok=True)


@contextmanager
def dialled(path: Path) -> Iterator[str]:
    """Give a path that leads to this very socket, also if another file takes its name. Raises OSError."""
    take_over(path.parent)
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a socket")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def check_target(path: Path) -> None:
    """Take over the socket that a route is to lead to. Raises DependencyError when something else has its name."""
    try:
        take_over(path.parent)
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise DependencyError("caddy", f"cannot lead a session's URL to {path}: it is not a socket")
    except FileNotFoundError:
        return  # nothing listens there, or not yet
    except OSError as error:
        raise DependencyError("caddy", f"cannot look at {path}: {error.strerror}") from None


class SocketConnector(aiohttp.UnixConnector):
    """Connects to a sandbox's socket and to nothing that a link leads to."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        real = self._path
        with dialled(Path(real)) as path:
            self._path = path
            try:
                return await super()._create_connection(*args, **kwargs)
            finally:
                self._path = real
