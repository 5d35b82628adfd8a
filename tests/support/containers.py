"""Stores in containers for the integration tier: the images and commands that compose.yaml names.

The embedded wheels are the default because they start in a second; this shows that the drivers work against the
versions that a deployment runs (PostgreSQL 17, Valkey 8, NATS 2.10). `JELMORE_TEST_SERVERS=containers` chooses it.
The images must exist: `scripts/test-servers` builds them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import nats
import redis.asyncio
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
PASSWORD: Final = "integration"
READY_S: Final = 60.0
LABELS: Final = {"jelmore.test": "servers"}


def wanted() -> bool:
    """Return whether the servers of this test run are containers."""
    return os.environ.get("JELMORE_TEST_SERVERS", "embedded") == "containers"


@dataclass(frozen=True, slots=True)
class ContainerServer:
    """A server in a container, with the one attribute that the embedded ones share."""

    url: str


def _service(name: str) -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][name]
    return service


def _command(service: dict[str, Any]) -> list[str] | str:
    """Return the service's command with Compose's `$$` undone."""
    command = service["command"]
    if isinstance(command, str):
        return command.replace("$$", "$")
    return [str(part).replace("$$", "$") for part in command]


@asynccontextmanager
async def _running(name: str, port: int, **environment: str) -> AsyncIterator[tuple[str, int]]:
    """Run a service of compose.yaml; yield where its port is published. The container is removed at the end."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image needs a registry; labels serve instead
    from testcontainers.core.container import DockerContainer

    service = _service(name)
    container = DockerContainer(service["image"]).with_command(_command(service)).with_exposed_ports(port)
    container = container.with_kwargs(labels=LABELS, shm_size="128m")
    for path, options in _tmpfs(service).items():
        container = container.with_tmpfs_mount(path, options)
    for key, value in environment.items():
        container = container.with_env(key, value)
    await asyncio.to_thread(container.start)
    try:
        yield container.get_container_host_ip(), int(container.get_exposed_port(port))
    finally:
        await asyncio.to_thread(container.stop)


def _tmpfs(service: dict[str, Any]) -> dict[str, str]:
    """Return the service's own tmpfs mounts. Its volumes are left out: nothing outlives the test run."""
    return dict(str(entry).partition(":")[::2] for entry in service.get("tmpfs", []))


async def _until(answers: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Return when the server answers. Raises its last error after `READY_S` seconds."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while True:
        try:
            async with asyncio.timeout(5):
                await answers()
        except (OSError, TimeoutError, asyncpg.PostgresError, redis.exceptions.RedisError, nats.errors.Error):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return


@asynccontextmanager
async def postgres() -> AsyncIterator[ContainerServer]:
    """PostgreSQL as compose.yaml runs it."""
    async with _running("postgres", 5432, POSTGRES_PASSWORD=PASSWORD) as (host, port):
        url = f"postgresql://jelmore:{PASSWORD}@{host}:{port}/postgres"

        async def answers() -> None:
            connection = await asyncpg.connect(url)
            await connection.close()

        await _until(answers)
        yield ContainerServer(url)


@asynccontextmanager
async def valkey() -> AsyncIterator[ContainerServer]:
    """Valkey as compose.yaml runs it."""
    async with _running("redis", 6379, REDIS_PASSWORD=PASSWORD) as (host, port):
        url = f"redis://:{PASSWORD}@{host}:{port}/0"

        async def answers() -> None:
            async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
                await client.ping()

        await _until(answers)
        yield ContainerServer(url)


@asynccontextmanager
async def nats_server() -> AsyncIterator[ContainerServer]:
    """NATS with JetStream as compose.yaml runs it."""
    async with _running("nats", 4222, NATS_PASSWORD=PASSWORD) as (host, port):
        url = f"nats://jelmore:{PASSWORD}@{host}:{port}"

        async def ignore(_: Exception) -> None:
            return

        async def answers() -> None:
            client = await nats.connect(url, allow_reconnect=False, error_cb=ignore)
            await client.jetstream().account_info()
            await client.close()

        await _until(answers)
        yield ContainerServer(url)
