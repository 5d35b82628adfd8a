"""The quick start's servers: start, stop, crash, and what is left of them."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import nats
import pytest
import redis.asyncio

from jelmore.embedded import Caddy, Nats, Postgres, Service, ServiceError, Valkey, launch
from tests.support.processes import alive, descendants
from tests.support.waiting import until

pytestmark = pytest.mark.integration
ALL: list[type[Service]] = [Postgres, Valkey, Nats, Caddy]
every_server = pytest.mark.parametrize("make", ALL, ids=lambda make: make.name)

type Make = Callable[[Path, Path], Service]


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_socket()]


@every_server
async def test_it_starts_stops_and_leaves_nothing(make: Make, short_folder: Path) -> None:
    server = make(short_folder / "data", short_folder / "s")
    async with server:
        assert server.pid
        processes = [server.pid, *descendants(server.pid)]
        assert os.getsid(server.pid) != os.getsid(0)  # a terminal's Ctrl-C does not reach it
        for path in sockets(short_folder / "s"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077
    assert not any(alive(process) for process in processes)
    assert not sockets(short_folder / "s")
    await server.stop()


@every_server
async def test_it_runs_below_a_folder_of_any_name(make: Make, short_folder: Path) -> None:
    folder = short_folder / "ü #1%20'é"
    async with make(folder / "data", folder / "s") as server:
        assert await server.answers()
        if isinstance(server, Valkey):
            client = redis.asyncio.Redis.from_url(server.url, protocol=2)
            assert await client.ping()
            await client.aclose()


async def test_all_start_again_in_three_seconds(short_folder: Path) -> None:
    for _ in range(2):
        servers = [make(short_folder / make.name, short_folder / "s") for make in ALL]
        began = time.monotonic()
        await asyncio.gather(*(server.start() for server in servers))
        took = time.monotonic() - began
        await asyncio.gather(*(server.stop() for server in servers))
    assert took < 3


@every_server
async def test_it_is_started_again_after_a_crash(make: Make, short_folder: Path) -> None:
    async with make(short_folder / "data", short_folder / "s") as server:
        before = server.pid
        await server.kill()
        await until(lambda: server.restarts == 1, what="another start")
        assert server.pid not in {None, before}
        assert await server.answers()


@every_server
async def test_a_second_owner_of_the_folder_is_refused(make: Make, short_folder: Path) -> None:
    async with make(short_folder / "data", short_folder / "s") as server:
        second = make(short_folder / "data", short_folder / "s2")
        second.stop_timeout_s = 0.2  # type: ignore[misc] # how long it waits for the folder
        with pytest.raises(ServiceError, match="in use"):
            await second.start()
        assert await server.answers()


_PARENT = """
import asyncio, sys
from pathlib import Path
from jelmore.embedded import Caddy, Nats, Postgres, Valkey
async def main():
    folder = Path(sys.argv[1])
    servers = [make(folder / make.name, folder / "s") for make in (Postgres, Valkey, Nats, Caddy)]
    await asyncio.gather(*(server.start() for server in servers))
    print(*(server.pid for server in servers), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_no_server_outlives_a_killed_parent(short_folder: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(short_folder), stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert parent.stdout
    async with asyncio.timeout(20):
        servers = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(servers) == len(ALL)
    processes = [process for server in servers for process in (server, *descendants(server))]
    parent.kill()
    await parent.communicate()
    await until(lambda: not any(alive(process) for process in processes), seconds=5, what="the end of all servers")
    for make in ALL:  # and what they left does not hinder the next
        async with make(short_folder / make.name, short_folder / "s") as server:
            assert await server.answers()


async def test_postgres_keeps_its_data(short_folder: Path) -> None:
    for attempt in range(2):
        async with Postgres(short_folder / "data", short_folder / "s") as server:
            connection = await asyncpg.connect(server.url)
            await connection.execute("create table if not exists kept as select 1 as one")
            assert await connection.fetchval("select one from kept") == 1, attempt
            await connection.close()
            if attempt == 0:
                await server.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to look like another")
async def test_postgres_runs_where_namespaces_are_forbidden(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(server: Postgres) -> None:
        server.way = launch.SWITCHED

    async with Postgres(short_folder / "data", short_folder / "s") as server:
        await server.stop()
    monkeypatch.setattr(Postgres, "_choose_way", forbidden)
    async with Postgres(short_folder / "data", short_folder / "s") as server:  # takes the data over
        assert server.pid
        assert Path(f"/proc/{server.pid}").stat().st_uid == launch.STAND_IN_ID
        assert await server.answers()
        await server.kill()
        await until(lambda: server.restarts == 1)
    monkeypatch.undo()
    async with Postgres(short_folder / "data", short_folder / "s") as server:  # and back
        assert await server.answers()


async def test_a_server_that_cannot_start_says_why(short_folder: Path) -> None:
    server = Postgres(short_folder / "data", short_folder / "s")
    async with server:
        pass
    (short_folder / "data" / "data" / "postgresql.conf").write_text("nonsense = yes\n")
    with pytest.raises(ServiceError, match="nonsense"):
        await server.start()
    assert server.pid is None


def test_a_path_too_long_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="shorter folder"):
        Valkey(tmp_path, tmp_path / ("x" * 100))


async def test_valkey_is_a_bounded_cache(short_folder: Path) -> None:
    async with Valkey(short_folder / "data", short_folder / "s") as server:
        client = redis.asyncio.Redis.from_url(server.url, protocol=2, decode_responses=True)
        asked = {name: (await client.config_get(name))[name] for name in ("maxmemory-policy", "save", "appendonly")}
        assert asked == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no"}
        assert (await client.config_get("maxmemory"))["maxmemory"] == str(256 * 1024 * 1024)
        await client.aclose()


async def test_nats_keeps_port_and_token_to_itself(short_folder: Path) -> None:
    urls = []
    for _ in range(2):
        async with Nats(short_folder / "data", short_folder / "s") as server:
            urls.append(server.url)
            assert b"Authorization Violation" in await _greet(server.url, "wrong")
            client = await nats.connect(server.url)
            assert client.max_payload == 8 * 1024 * 1024
            await client.close()
    assert urls[0] == urls[1]
    assert stat.S_IMODE((short_folder / "data" / "nats.json").stat().st_mode) == 0o600


async def _greet(url: str, token: str) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b'CONNECT {"auth_token":"%s","verbose":false,"pedantic":false}\r\nPING\r\n' % token.encode())
        answer = await reader.read()
        writer.close()
    return answer


async def test_caddy_resumes_its_last_configuration(short_folder: Path) -> None:
    for attempt in range(2):
        async with Caddy(short_folder / "data", short_folder / "s") as server:
            if attempt == 0:
                logging = {"logs": {"default": {"level": "ERROR"}}}
                wanted = json.dumps({"admin": {"listen": server.admin_listen}, "logging": logging})
                assert " 200 " in await _ask(server.admin, "POST /load", wanted)
            assert "ERROR" in await _ask(server.admin, "GET /config/")
    async with Caddy(short_folder / "data", short_folder / "s2") as moved:  # the saved address is of no use now
        assert "ERROR" not in await _ask(moved.admin, "GET /config/")


async def _ask(admin: Path, request: str, body: str = "") -> str:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_unix_connection(str(admin))
        headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{request} HTTP/1.0\r\n{headers}\r\n{body}".encode())
        answer = (await reader.read()).decode()
        writer.close()
    return answer


async def test_a_flood_of_log_lines_is_bounded(short_folder: Path) -> None:
    server = Valkey(short_folder / "data", short_folder / "s")
    (short_folder / "data").mkdir()
    server.log_path.write_bytes(b"x" * (9 * 1024 * 1024))
    async with server:
        assert server.log_path.stat().st_size < 1024 * 1024
        assert server.log_path.with_suffix(".log.1").stat().st_size == 9 * 1024 * 1024
