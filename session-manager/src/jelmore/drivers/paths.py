"""Where the sockets are, below `JELMORE_RUN_DIR`: one place, because three processes must agree without talking.

{session}/control.sock, runner.sock   made by a session's runner; the folder is bound into its container
routes/{session}                      a link to where the session's URL leads; Caddy dials it
manager/{0..3}.sock                   the managers; manager/any.sock is Caddy's, and leads to whichever of them is there
gateway/gateway.sock                  the way out of every session; bound into each container, read-only
caddy/admin.sock                      Caddy's admin API
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore.ports import Address

MANAGER_SLOTS: Final = 4
SESSION_MODE: Final = 0o777


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The names below one run directory. I/O is in `prepare`, `sessions`, `make_session`, `clear_session`."""

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

    def session(self, session_id: UUID) -> Path:
        """Return the folder of a session's sockets."""
        return self.run_dir / str(session_id)

    def control(self, session_id: UUID) -> Address:
        """Return the socket that only the manager uses."""
        return unix_address(self.session(session_id) / "control.sock")

    def public(self, session_id: UUID) -> Address:
        """Return the socket that people are led to."""
        return unix_address(self.session(session_id) / "runner.sock")

    def route(self, session_id: UUID) -> Path:
        """Return the link that Caddy dials."""
        return self.routes / str(session_id)

    def prepare(self) -> None:
        """Make the shared folders. Any number of times.

        Everything below is open to the uids inside containers, so nobody else on this machine may pass the top.
        """
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        top = self.run_dir.stat()
        if top.st_uid == os.geteuid() and top.st_mode & 0o007:
            self.run_dir.chmod(top.st_mode & 0o770)
        for folder in (self.routes, self.managers, self.admin_socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not self.gateway.is_dir():
            self.gateway.mkdir(exist_ok=True)
            self.gateway.chmod(0o755)  # the runner inside has a uid of its own

    def make_session(self, session_id: UUID) -> None:
        """Make the folder of a session's sockets. Any number of times.

        Its runner has a uid that this process may not give a folder to, so anybody may write there. Nobody else gets
        there: outside only the manager's user passes the run directory, inside only the runner passes `/jelmore`.
        """
        folder = self.session(session_id)
        folder.mkdir(exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != SESSION_MODE:
            folder.chmod(SESSION_MODE)

    def sessions(self) -> list[UUID]:
        """Return the sessions whose folder of sockets exists."""
        names = [entry.name for entry in self.run_dir.iterdir()] if self.run_dir.is_dir() else []
        return [UUID(name) for name in names if len(name) == len(str(UUID(int=0)))]

    def clear_session(self, session_id: UUID) -> None:
        """Remove a session's sockets and their folder. Absent is success."""
        shutil.rmtree(self.session(session_id), ignore_errors=True)


def unix_address(path: Path) -> Address:
    """Return the address of a unix socket."""
    return Address(f"unix:{path}")


def unix_path(address: Address) -> Path | None:
    """Return the path of a unix address, None for any other."""
    kind, _, rest = address.text.partition(":")
    return Path(rest) if kind == "unix" else None
