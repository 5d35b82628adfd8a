"""A folder for the files of a long command, which a killed command does not leave for good.

What a backup writes on its way holds secrets and may be large. The folder is locked while its command runs, so the next
command of its kind knows which of them nobody uses, and removes them.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jelmore.session.errors import RefusedError


@contextmanager
def working_folder(beside: Path, prefix: str, what: str) -> Iterator[Path]:
    """Yield a new folder beside a file, readable by this user only; remove it at the end, and those of killed commands.

    Raises RefusedError naming the file in place of any OSError, inside too: a full disk is no bug. `what` names the
    command.
    """
    parent = beside.absolute().parent
    try:
        _remove_abandoned(parent, prefix)
        with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name:
            lock = _locked(Path(name))
            try:
                yield Path(name)
            finally:
                if lock is not None:
                    os.close(lock)
    except OSError as error:
        named = error.filename or beside
        raise RefusedError(what, f"{named}: {error.strerror or error}; nothing is kept of it") from None


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # another user's
            if not folder.is_symlink() and (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return the descriptor of the folder's lock, None while another process holds it. Raises OSError."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
