"""The paths of all sockets below `JELMORE_RUN_DIR`, in one place: manager, runner and Caddy must agree on them.

{key}/box/                            where a sandbox's runner creates its sockets; bound into its container
{key}/control.sock, runner.sock       the same sockets, moved to where the sandbox cannot replace them
{key}/secret                          the secret that the manager sends to the runner; the runner's copy is box/secret
routes/{session}                      a symbolic link to where the session's URL leads; Caddy dials it
addresses/{session}                   host:port of a sandbox that listens on TCP; its route leads to by_address.sock
manager/{0..3}.sock                   the managers; manager/any.sock is Caddy's and leads to any running manager
gateway/control.sock                  the gateway's control socket, which the managers call
gateway/{sandbox}/                    the sockets of one sandbox at the gateway; bound into its container, read-only
caddy/admin.sock                      Caddy's admin API
caddy/by_address.sock                 Caddy's listener that forwards to the host and port in addresses/{session}
caddy/addresses.sock                  Caddy's listener that reads addresses/{session}
"""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore.drivers.sandbox_sockets import INNER
from jelmore.ports import Address
from jelmore.session.errors import DependencyError
from jelmore_protocol.gateway import CONTROL_SOCKET, sandbox_key

MANAGER_SLOTS: Final = 4
FOLDER_MODE: Final = 0o777
_SECRET: Final = "secret"  # noqa: S105 - a name
_KEY: Final = re.compile("[0-9a-f]{16}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A sandbox key, or a session id: older versions named the folder after the session."""

_HOST_PORT: Final = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}"
)
MAX_PORTS: Final = 2**16


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The paths below one run directory. I/O is in `check`, `prepare`, `folders`, `make_folder`, `clear_folder`.

    Every sandbox has its own key: a late cleanup of one folder cannot hit the next sandbox of the session.
    """

    run_dir: Path

    @property
    def routes(self) -> Path:
        """The folder of links, one per published session."""
        return self.run_dir / "routes"

    @property
    def addresses(self) -> Path:
        """The folder of TCP addresses, one file per session that has one."""
        return self.run_dir / "addresses"

    @property
    def by_address(self) -> Path:
        """Caddy's listener for sessions whose sandbox listens on TCP."""
        return self.admin_socket.parent / "by_address.sock"

    @property
    def address_lookup(self) -> Path:
        """Caddy's listener that answers with a session's TCP address."""
        return self.admin_socket.parent / "addresses.sock"

    @property
    def gateway(self) -> Path:
        """The folder of the gateway's sockets, which the gateway creates."""
        return self.run_dir / "gateway"

    @property
    def mcp(self) -> Path:
        """The folder of the socket of the process that runs stdio MCP servers."""
        return self.run_dir / "mcp"

    @property
    def gateway_control(self) -> Path:
        """The gateway's control socket."""
        return self.gateway / CONTROL_SOCKET

    @property
    def managers(self) -> Path:
        """The folder of the managers' sockets."""
        return self.run_dir / "manager"

    @property
    def any_manager(self) -> Path:
        """Caddy's listener that leads to any running manager."""
        return self.managers / "any.sock"

    @property
    def admin_socket(self) -> Path:
        """Caddy's admin API."""
        return self.run_dir / "caddy" / "admin.sock"

    def manager_socket(self, slot: int) -> Path:
        """Return the socket of the manager in that slot."""
        return self.managers / f"{slot}.sock"

    def manager_lock(self, slot: int) -> Path:
        """Return the lock file of the manager in that slot. It contains the manager's host name."""
        return self.managers / f"{slot}.lock"

    def gateway_folder(self, session_id: UUID, generation: int) -> Path:
        """Return the folder of one sandbox's sockets at the gateway. It exists once the sandbox is registered there."""
        return self.gateway / sandbox_key(session_id, generation)

    def make_gateway_folder(self, session_id: UUID, generation: int) -> Path:
        """Return the folder of one sandbox's sockets at the gateway, and create it if this process may.

        A sandbox that the gateway does not know can start; it has no way out until it is registered.
        """
        folder = self.gateway_folder(session_id, generation)
        with suppress(OSError):  # where the gateway is another user, only the gateway creates it
            folder.mkdir(mode=0o755, exist_ok=True)
        return folder

    def folder(self, key: str) -> Path:
        """Return a sandbox's socket folder."""
        return self.run_dir / key

    def inner(self, key: str) -> Path:
        """Return the part of the socket folder that the sandbox can write to."""
        return self.folder(key) / INNER

    def control(self, key: str) -> Path:
        """Return the socket that only the manager uses."""
        return self.folder(key) / "control.sock"

    def public(self, key: str) -> Address:
        """Return the socket that clients reach through Caddy."""
        return unix_address(self.folder(key) / "runner.sock")

    def route(self, session_id: UUID) -> Path:
        """Return the symbolic link that Caddy dials for a session."""
        return self.routes / str(session_id)

    def address(self, session_id: UUID) -> Path:
        """Return the file with the host and port to which Caddy forwards a session's requests."""
        return self.addresses / str(session_id)

    async def check(self) -> None:
        """Return when a socket folder and a route can be created here. Raises DependencyError with the reason."""
        probe = self.routes / f".{secrets.token_hex(4)}"  # after a crash here, the edge removes names of this form
        with self._mapped():
            probe.mkdir()
            probe.rmdir()
            probe.symlink_to(self.any_manager)
            probe.unlink()

    def prepare(self) -> None:
        """Create the shared folders. May run twice. Raises DependencyError.

        Everything below is open to the uids inside containers, so no other user of this machine may enter the top
        folder.
        """
        with self._mapped():
            self._prepare()

    def _prepare(self) -> None:
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        top = self.run_dir.stat()
        if top.st_uid == os.geteuid() and top.st_mode & 0o007:
            self.run_dir.chmod(top.st_mode & 0o770)
        for folder in (self.routes, self.addresses, self.managers, self.admin_socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not self.gateway.is_dir():
            self.gateway.mkdir(exist_ok=True)
            self.gateway.chmod(0o755)  # the gateway may run as another user

    def make_folder(self, key: str) -> None:
        """Create a sandbox's socket folder. May run twice. Raises DependencyError.

        The folder is world-writable, because this process may not hand it over to the runner's uid. Access is limited
        above it: on the host only the manager's user can enter the run directory, in the container only the runner
        can enter `/jelmore`.
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
        """Return the secret that callers must send to the sandbox's runner. Empty for a sandbox without one."""
        try:
            return (self.folder(key) / _SECRET).read_text(encoding="ascii")
        except OSError:
            return ""

    def folders(self) -> list[str]:
        """Return the keys of the sandboxes whose socket folder exists."""
        names = [entry.name for entry in self.run_dir.iterdir()] if self.run_dir.is_dir() else []
        return [name for name in names if _KEY.fullmatch(name)]

    def clear_folder(self, key: str) -> None:
        """Remove a sandbox's socket folder and everything in it. Absent is success."""
        shutil.rmtree(self.folder(key), ignore_errors=True)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Convert OSError to DependencyError: a full disk is an operational failure, not a bug."""
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


def tcp_target(address: Address) -> str | None:
    """Return `host:port` of a TCP address, None for any other and for one that is malformed."""
    kind, _, rest = address.text.partition(":")
    return rest if kind == "tcp" and _HOST_PORT.fullmatch(rest) and int(rest.rpartition(":")[2]) < MAX_PORTS else None
