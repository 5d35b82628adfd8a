"""JupyterHub with DockerSpawner and configurable-http-proxy, in a folder that is removed afterwards."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.bench.processes import end, memory_mib
from tests.bench.sandboxes import IMAGE
from tests.support.stack import docker, docker_lines, free_port
from tests.support.stack_client import eventually
from tests.support.stack_quickstart import command, family

_INSTALL_S: Final = 900
_CALL_S: Final = 90
_PACKAGES: Final = ("jupyterhub==6.1.1", "dockerspawner==14.0.0")
_PROXY: Final = "configurable-http-proxy@5"
_CONFIG: Final = Path(__file__).with_name("hub_config.py")
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Hub:
    """A running JupyterHub and its proxy."""

    http: httpx.AsyncClient
    proxy: httpx.AsyncClient
    pid: int

    async def spawn_s(self, user: str) -> float:
        """Return the seconds from the request for a server until its first byte through the proxy."""
        (await self.http.post(f"/hub/api/users/{user}")).raise_for_status()
        began = time.perf_counter()
        (await self.http.post(f"/hub/api/users/{user}/server")).raise_for_status()
        async with asyncio.timeout(_CALL_S):
            while (await self.http.get(f"/user/{user}/")).text != "ok":
                await asyncio.sleep(_POLL_S)
        return time.perf_counter() - began

    async def stop(self, user: str) -> None:
        """Stop the user's server and return when its container has gone."""
        (await self.http.delete(f"/hub/api/users/{user}/server")).raise_for_status()

        async def gone() -> bool:
            shown = (await self.http.get(f"/hub/api/users/{user}")).json()
            return not shown["servers"] and not shown["pending"]

        await eventually(gone, seconds=_CALL_S, what=lambda: f"the server of {user} stops")

    async def route_s(self, name: str) -> float:
        """Return the seconds that the proxy takes to add a route."""
        began = time.perf_counter()
        (await self.proxy.post(f"/api/routes/{name}", json={"target": "http://127.0.0.1:9"})).raise_for_status()
        return time.perf_counter() - began

    def memory_mib(self) -> float:
        """Return the memory of hub and proxy, shared pages in part."""
        return sum(memory_mib(pid) for pid in [self.pid, *family(self.pid)])


@asynccontextmanager
async def hub() -> AsyncIterator[Hub]:
    """Install and run a JupyterHub for the block; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="jb-hub-"))
    label = secrets.token_hex(6)
    try:
        await asyncio.to_thread(_install, folder)
        async with _running(folder, label) as found:
            yield found
    finally:
        for container in docker_lines("ps", "--all", "--quiet", "--filter", f"label=jelmore.bench={label}"):
            docker("rm", "--force", container)
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path) -> None:
    python = folder / "venv" / "bin" / "python"
    for words in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_PACKAGES],
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), _PROXY],
    ):
        subprocess.run(words, check=True, timeout=_INSTALL_S, stdout=sys.stderr)


@asynccontextmanager
async def _running(folder: Path, label: str) -> AsyncIterator[Hub]:
    port, hub_port, proxy_port, token = free_port(), free_port(), free_port(), secrets.token_hex(32)
    values = {"PORT": port, "HUB_PORT": hub_port, "PROXY_PORT": proxy_port, "TOKEN": token}
    environment = {
        **os.environ,
        "PATH": f"{folder}/venv/bin:{folder}/node_modules/.bin:{os.environ['PATH']}",
        "PEER_IMAGE": IMAGE,
        "PEER_LABEL": label,
        **{f"PEER_{name}": str(value) for name, value in values.items()},
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("jupyterhub", "--config", str(_CONFIG)), cwd=folder, env=environment, stdout=log, stderr=log
        )
    bearer = {"Authorization": f"token {token}"}
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer, timeout=_CALL_S) as http,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy_port}", headers=bearer, timeout=_CALL_S) as proxy,
        ):

            async def answers() -> bool:
                assert process.returncode is None, (folder / "log").read_text()[-2000:]
                try:
                    return (await http.get("/hub/api/")).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            await eventually(answers, seconds=_CALL_S, what=lambda: "JupyterHub answers")
            yield Hub(http, proxy, process.pid)
    finally:
        proxies = [pid for pid in family(process.pid) if "configurable-http-proxy" in command(pid)]
        await end(process, within_s=_CALL_S)
        for pid in proxies:  # it ends with the hub; one that did not must not stay
            if "configurable-http-proxy" in command(pid):
                os.kill(pid, 9)
