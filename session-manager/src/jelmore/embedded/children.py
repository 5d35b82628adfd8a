"""Our own processes in the quick start, supervised like the servers: the gateway, the manager and the demo model."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import aiohttp

from jelmore.drivers.paths import RunPaths
from jelmore.embedded.service import Service
from jelmore_protocol.gateway import LOCAL_SOCKET


async def _answers(socket: Path, path: str) -> bool:
    """Return whether an HTTP server on a unix socket answers with 200."""
    if not socket.exists():
        return False
    connector = aiohttp.UnixConnector(str(socket))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=2)) as client,
            client.get(f"http://child{path}") as answer,
        ):
            return answer.status == 200  # noqa: PLR2004 - HTTP's OK
    except (aiohttp.ClientError, OSError, ValueError):
        return False


class DemoModel(Service):
    """The scripted Messages API on a unix socket that only the gateway dials."""

    name: ClassVar[str] = "demo"

    def __init__(self, folder: Path, sockets: Path) -> None:
        super().__init__(folder, sockets)
        self._listen = self.socket("model.sock")

    async def prepare(self) -> None:
        """Do nothing: it has no files to write."""

    def command(self) -> list[str]:
        """Return its command line."""
        return [sys.executable, "-m", "jelmore_demo", "--listen", f"unix:{self._listen}"]

    async def answers(self) -> bool:
        """Return whether it answers."""
        return await _answers(self._listen, "/health")

    def leftovers(self) -> list[Path]:
        """Return the socket that a killed process leaves behind."""
        return [self._listen]


GATEWAY_SETTINGS: Final = frozenset(
    {
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "JELMORE_GATEWAY_LISTEN",
        "JELMORE_SECRETS_KEY",
        "JELMORE_SECRETS_KEY_FILE",
    }
)
"""Settings that only the gateway gets: the manager must not hold a credential of the model."""

_SHARED_SETTINGS: Final = (
    "JELMORE_RUN_DIR",
    "JELMORE_LOG_LEVEL",
    "JELMORE_TRACE_MODEL_API",
    "JELMORE_TRACE_RATIO",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
)


class GatewayProcess(Service):
    """The gateway, which holds the credentials. Sessions use it while the manager is restarted."""

    name: ClassVar[str] = "gateway"

    def __init__(self, folder: Path, paths: RunPaths, environment: Mapping[str, str]) -> None:
        super().__init__(folder, paths.gateway)
        self._control = self.socket(paths.gateway_control.name)
        wanted = GATEWAY_SETTINGS.union(_SHARED_SETTINGS)
        self._environment = {name: value for name, value in environment.items() if name in wanted}

    async def prepare(self) -> None:
        """Do nothing: it has no files to write."""

    def command(self) -> list[str]:
        """Return its command line."""
        return [sys.executable, "-m", "jelmore_gateway"]

    def environment(self) -> Mapping[str, str]:
        """Return its settings and nothing else."""
        return {**super().environment(), **self._environment, "JELMORE_GATEWAY_STATE_DIR": str(self.folder / "state")}

    async def answers(self) -> bool:
        """Return whether it serves."""
        return await _answers(self._control, "/health")

    def leftovers(self) -> list[Path]:
        """Return the control socket that a killed process leaves behind. Those of sandboxes are replaced in place."""
        return [self._control]


class McpServersProcess(Service):
    """Runs stdio MCP servers for sessions. It gets no credential of the model and no key of the vault."""

    name: ClassVar[str] = "mcp"

    def __init__(self, folder: Path, paths: RunPaths, environment: Mapping[str, str]) -> None:
        super().__init__(folder, paths.mcp)
        self._socket = self.socket(LOCAL_SOCKET)
        wanted = (
            *_SHARED_SETTINGS,
            "JELMORE_MCP_SERVERS_FILE",
            "JELMORE_MCP_SERVERS_MAX",
            "JELMORE_MCP_SERVERS_UID",
            "PATH",
        )
        self._environment = {name: value for name, value in environment.items() if name in wanted}

    async def prepare(self) -> None:
        """Do nothing: its file is the operator's."""

    def command(self) -> list[str]:
        """Return its command line."""
        return [sys.executable, "-m", "jelmore_gateway.stdio"]

    def environment(self) -> Mapping[str, str]:
        """Return its settings, and the PATH on which it finds commands."""
        return {**super().environment(), **self._environment}

    async def answers(self) -> bool:
        """Return whether it serves."""
        return await _answers(self._socket, "/servers")

    def leftovers(self) -> list[Path]:
        """Return the socket that a killed process leaves behind."""
        return [self._socket]


class ManagerProcess(Service):
    """The manager. When it dies it is restarted, like every other service here. Sessions keep running."""

    name: ClassVar[str] = "manager"
    start_timeout_s: ClassVar[float] = 90.0
    stop_timeout_s: ClassVar[float] = 20.0

    def __init__(self, folder: Path, paths: RunPaths, environment: Mapping[str, str]) -> None:
        super().__init__(folder, paths.managers)
        self._socket = paths.manager_socket(0)
        self._environment = {name: value for name, value in environment.items() if name not in GATEWAY_SETTINGS}
        self.addresses_environment: Mapping[str, str] = {}

    def set_environment(self, addresses: Mapping[str, str]) -> None:
        """Set the servers' addresses, which are known only after the servers have started."""
        self.addresses_environment = dict(addresses)

    async def prepare(self) -> None:
        """Do nothing: it has no files to write."""

    def command(self) -> list[str]:
        """Return its command line."""
        return [sys.executable, "-m", "jelmore", "serve"]

    def environment(self) -> Mapping[str, str]:
        """Return the environment of the quick start without the gateway's part, and the addresses of the servers."""
        return {"PATH": os.defpath, **self._environment, **self.addresses_environment}

    async def answers(self) -> bool:
        """Return whether the manager has checked every session once and serves requests."""
        return await _answers(self._socket, "/readyz")

    def leftovers(self) -> list[Path]:
        """Return the socket that a killed process leaves behind."""
        return [self._socket]
