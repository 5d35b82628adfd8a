"""Safe use of unix sockets that code in a sandbox created: moved out of its reach, dialled without following links.

A sandbox can write to the folder where its runner creates the sockets. It could put a link there to the socket of
another session, of Caddy or of the engine. So a socket is moved to a folder that only the manager can enter before it
is dialled, and anything but a socket is refused.
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
"""The part of the socket folder that the sandbox can write to."""

NAMES: Final = ("control.sock", "runner.sock")


def take_over(folder: Path) -> None:
    """Move the sockets that a sandbox created to where it cannot change them. May run twice.

    A socket that is created again replaces the previous one. Anything but a socket is removed. Raises OSError.
    """
    for name in NAMES:
        taken = folder / f".{name}.{secrets.token_hex(4)}"
        try:
            os.rename(folder / INNER / name, taken)  # noqa: PTH104 - the name of the call is the point
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            # Checked after the move: the sandbox cannot replace it any more.
            if stat.S_ISSOCK(taken.lstat().st_mode):
                os.rename(taken, folder / name)  # noqa: PTH104
        finally:
            with suppress(OSError):
                taken.unlink(missing_ok=True)


@contextmanager
def dialled(path: Path) -> Iterator[str]:
    """Yield a path that keeps leading to this socket even if another file takes its name. Raises OSError."""
    take_over(path.parent)
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a socket")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def check_target(path: Path) -> None:
    """Take over the socket that a route will lead to. Raises DependencyError when its path is not a socket."""
    try:
        take_over(path.parent)
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise DependencyError("caddy", f"cannot lead a session's URL to {path}: it is not a socket")
    except FileNotFoundError:
        return  # no socket there, or not yet
    except OSError as error:
        raise DependencyError("caddy", f"cannot look at {path}: {error.strerror}") from None


class SocketConnector(aiohttp.UnixConnector):
    """Connects to a sandbox's socket and never follows a link."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        real = self._path
        with dialled(Path(real)) as path:
            self._path = path
            try:
                return await super()._create_connection(*args, **kwargs)
            finally:
                self._path = real
