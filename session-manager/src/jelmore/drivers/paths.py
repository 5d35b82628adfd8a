"""Where the sockets are, below `JELMORE_RUN_DIR`: one place, because three processes must agree without talking.

{key}/box/                            where a sandbox's runner makes its sockets; bound into its container
{key}/control.sock, runner.sock       the same sockets, moved to where the sandbox cannot replace them
{key}/secret                          what the manager shows the runner; the runner's copy is box/secret
routes/{session}                      a link to where the session's URL leads; Caddy dials it
manager/{0..3}.sock                   the managers; manager/any.sock is Caddy's, and leads to whichever of them is there
gateway/gateway.sock                  the way out of every session; bound into each container, read-only
caddy/admin.sock                      Caddy's admin API
"""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore.drivers.sandbox_sockets import INNER
from jelmore.ports import Address
from jelmore.session.errors import DependencyError

MANAGER_SLOTS: Final = 4
FOLDER_MODE: Final = 0o777
_SECRET: Final = "secret"  # noqa: S105 - a name
_KEY: Final = re.compile("[0-9a-f]{16}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A key of ours, or the session's id that named the folder before sandboxes had keys."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The names below one run directory. I/O is in `check`, `prepare`, `folders`, `make_folder`, `clear_folder`.

    The folder of a sandbox has a key of its own: what is cleared late can never be a successor's.
    """

    run_dir: Path

    @property
    def routes(self) -> Path:
        """The folder of links, one per published session."""
        return self.run_dir / "routes"

    @property
    def gateway(self) -> Path:
        """The folder of the gateway's socket."""
        return self.run_dir / "gateway"

    @property
    def gateway_socket(self) -> Path:
        """The gateway's listener."""
        return self.gateway / "gateway.sock"

    @property
    def managers(self) -> Path:
        """The folder of the managers' sockets."""
        return self.run_dir / "manager"

    @property
    def any_manager(self) -> Path:
        """Caddy's listener that leads to whichever manager is there."""
        return self.managers / "any.sock"

    @property
    def admin_socket(self) -> Path:
        """Caddy's admin API."""
        return self.run_dir / "caddy" / "admin.sock"

    def manager_socket(self, slot: int) -> Path:
        """Return the listener of the manager with that slot."""
        return self.managers / f"{slot}.sock"

    def manager_lock(self, slot: int) -> Path:
        """Return what the manager with that slot holds locked; it names the manager's host."""
        return self.managers / f"{slot}.lock"

    def folder(self, key: str) -> Path:
        """Return the folder of a sandbox's sockets."""
        return self.run_dir / key

    def inner(self, key: str) -> Path:
        """Return the folder that the sandbox writes to."""
        return self.folder(key) / INNER

    def control(self, key: str) -> Path:
        """Return the socket that only the manager uses."""
        return self.folder(key) / "control.sock"

    def public(self, key: str) -> Address:
        """Return the socket that clients reach through Caddy."""
        return unix_address(self.folder(key) / "runner.sock")

    def route(self, session_id: UUID) -> Path:
        """Return the link that Caddy dials."""
        return self.routes / str(session_id)

    async def check(self) -> None:
        """Return when a socket's folder and a route can be made here. Raises DependencyError naming why not."""
        probe = self.routes / f".{secrets.token_hex(4)}"  # a name that the edge clears away, should we die here
        with self._mapped():
            probe.mkdir()
            probe.rmdir()
            probe.symlink_to(self.any_manager)
            probe.unlink()

    def prepare(self) -> None:
        """Make the shared folders. Any number of times. Raises DependencyError.

        Everything below is open to the uids inside containers, so nobody else on this machine may pass the top.
        """
        with self._mapped():
            self._prepare()

    def _prepare(self) -> None:
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        top = self.run_dir.stat()
        if top.st_uid == os.geteuid() and top.st_mode & 0o007:
            self.run_dir.chmod(top.st_mode & 0o770)
        for folder in (self.routes, self.managers, self.admin_socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not self.gateway.is_dir():
            self.gateway.mkdir(exist_ok=True)
            self.gateway.chmod(0o755)  # the runner inside has a uid of its own

    def make_folder(self, key: str) -> None:
        """Make the folder of a sandbox's sockets. Any number of times. Raises DependencyError.

        Its runner has a uid that this process may not give a folder to, so anybody may write there. Nobody else gets
        there: outside only the manager's user passes the run directory, inside only the runner passes `/jelmore`.
        Raises DependencyError.
        """
        with self._mapped():
            self._make_folder(self.folder(key), self.inner(key))

    def _make_folder(self, folder: Path, inner: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        inner.mkdir(exist_ok=True)
        if stat.S_IMODE(inner.stat().st_mode) != FOLDER_MODE:
            inner.chmod(FOLDER_MODE)
        if not (folder / _SECRET).exists():
            secret = secrets.token_urlsafe(32)
            for path, mode in ((inner / _SECRET, 0o444), (folder / _SECRET, 0o600)):
                path.unlink(missing_ok=True)
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:  # noqa: PTH123
                    file.write(secret)
                path.chmod(mode)

    def secret(self, key: str) -> str:
        """Return what the sandbox's runner asks of callers; empty for one that was made without."""
        try:
            return (self.folder(key) / _SECRET).read_text(encoding="ascii")
        except OSError:
            return ""

    def folders(self) -> list[str]:
        """Return the keys of the sandboxes whose folder of sockets exists."""
        names = [entry.name for entry in self.run_dir.iterdir()] if self.run_dir.is_dir() else []
        return [name for name in names if _KEY.fullmatch(name)]

    def clear_folder(self, key: str) -> None:
        """Remove a sandbox's sockets and their folder. Absent is success."""
        shutil.rmtree(self.folder(key), ignore_errors=True)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Turn what the file system refuses into an error of ours: a full disk is bad luck, not a bug."""
        try:
            yield
        except OSError as error:
            raise DependencyError("run directory", f"cannot write below {self.run_dir}: {error.strerror}") from None


def new_key() -> str:
    """Return a key that no other sandbox has."""
    return secrets.token_hex(8)


def unix_address(path: Path) -> Address:
    """Return the address of a unix socket."""
    return Address(f"unix:{path}")


def unix_path(address: Address) -> Path | None:
    """Return the path of a unix address, None for any other."""
    kind, _, rest = address.text.partition(":")
    return Path(rest) if kind == "unix" else None
