"""Real servers for tests, started once, and a clean place in each for every test."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import nats
import pytest
import pytest_asyncio
import redis.asyncio

from jelmore.drivers.migrations import create_database, migrate
from jelmore.embedded import Nats, Postgres, Valkey
from tests.support import containers
from tests.support.containers import ContainerServer


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="jt"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder of the test's own, for servers that it starts itself."""
    folder = Path(tempfile.mkdtemp(prefix="jt"))
    yield folder
    shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(server_folder: Path) -> AsyncIterator[Postgres | ContainerServer]:
    """PostgreSQL, with a migrated database to copy."""
    embedded = Postgres(server_folder / "postgres", server_folder / "s")
    async with containers.postgres() if containers.wanted() else embedded as server:
        await create_database(database(server, "pattern"))
        await migrate(database(server, "pattern"))
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey_server(server_folder: Path) -> AsyncIterator[Valkey | ContainerServer]:
    """Valkey."""
    embedded = Valkey(server_folder / "valkey", server_folder / "s")
    async with containers.valkey() if containers.wanted() else embedded as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(server_folder: Path) -> AsyncIterator[Nats | ContainerServer]:
    """NATS with JetStream."""
    embedded = Nats(server_folder / "nats", server_folder / "s")
    async with containers.nats_server() if containers.wanted() else embedded as server:
        yield server


@pytest_asyncio.fixture
async def database_url(postgres_server: Postgres | ContainerServer) -> AsyncIterator[str]:
    """A migrated, empty database."""
    name = f"t_{uuid4().hex}"
    connection = await asyncpg.connect(database(postgres_server, "postgres"))
    try:
        await connection.execute(f"create database {name} template pattern")
        yield database(postgres_server, name)
        await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def redis_url(valkey_server: Valkey | ContainerServer) -> str:
    """An empty Valkey."""
    client = redis.asyncio.Redis.from_url(valkey_server.url, protocol=2)
    await client.flushall()
    await client.aclose()
    return valkey_server.url


@pytest_asyncio.fixture
async def nats_url(nats_server: Nats | ContainerServer) -> str:
    """A NATS without streams."""
    client = await nats.connect(nats_server.url)
    jetstream = client.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(str(stream.config.name))
    await client.close()
    return nats_server.url


def database(server: Postgres | ContainerServer, name: str) -> str:
    """Return the URL of another database of the server."""
    parts = urlsplit(server.url)
    return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"
