"""A real Caddy with the configuration that the manager gives it, around it peers on unix sockets."""

import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jelmore.drivers import caddy_config
from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.paths import RunPaths
from jelmore.embedded.caddy import Caddy


@dataclass
class Stand:
    caddy: Caddy
    edge: CaddyEdge
    options: EdgeOptions

    @property
    def url(self) -> str:
        return f"http://{self.options.http_listen}"

    @property
    def paths(self) -> RunPaths:
        return self.options.paths


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Caddy look for a manager for three seconds at most; the checks of managers are as in production."""
    for name, seconds in {"FIND_MANAGER_S": 3, "READ_S": 1}.items():
        monkeypatch.setattr(caddy_config, name, seconds)


@pytest.fixture
def run_paths() -> Iterator[RunPaths]:
    folder = Path(tempfile.mkdtemp(prefix="jm-"))  # short: socket paths are
    yield RunPaths(folder / "run")
    shutil.rmtree(folder)


@pytest.fixture
def options(run_paths: RunPaths) -> EdgeOptions:
    return EdgeOptions(
        paths=run_paths,
        public_url="http://localhost",
        http_listen=f"127.0.0.1:{free_port()}",
        https_listen=f"127.0.0.1:{free_port()}",
        tls="internal",
    )


@pytest.fixture
async def stand(options: EdgeOptions) -> AsyncIterator[Stand]:
    options.paths.prepare()
    caddy = Caddy(options.paths.run_dir.parent / "caddy", options.paths.run_dir / "caddy")
    async with caddy:
        edge = CaddyEdge(options, admin_socket=caddy.admin)
        assert await edge.program()
        yield Stand(caddy, edge, options)
