"""Whom `jelmore health` asks when several managers share a run directory."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from jelmore import bootstrap, serve
from jelmore.api.serving import Server, server_config
from jelmore.bootstrap import drivers, make_app
from jelmore.drivers.paths import RunPaths
from jelmore.settings import Settings
from tests.support.waiting import until

type Claim = Callable[[str, int], None]
"""Claims a slot for a manager of a host."""


@pytest.fixture
def paths() -> Iterator[RunPaths]:
    folder = tempfile.mkdtemp(prefix="js")
    made = RunPaths(Path(folder))
    made.prepare()
    yield made
    shutil.rmtree(folder)


@pytest.fixture
def claim(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claim]:
    monkeypatch.setattr(serve, "_ASK_S", 0.3)
    locks: list[int] = []

    def claims(host: str, slot: int) -> None:
        monkeypatch.setattr(serve, "gethostname", lambda: host)
        claimed, lock = serve.claim_slot(paths, None)
        locks.append(lock)
        assert claimed == slot

    yield claims
    for lock in locks:
        os.close(lock)


@asynccontextmanager
async def manager(paths: RunPaths, slot: int, *, hangs: bool = False) -> AsyncIterator[None]:
    """Answer on a manager's socket, or take the question and say nothing."""
    body = b'{"status": "ok", "slot": %d}' % slot
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if hangs:
            await reader.read()  # until the other end gives up
        else:
            writer.write(head % len(body) + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, str(paths.manager_socket(slot)))
    async with server:
        yield


def settings(paths: RunPaths, slot: int | None = None) -> Settings:
    return Settings(_env_file=None, run_dir=paths.run_dir, manager_slot=slot)


async def test_a_manager_that_hangs_is_not_well_because_another_is(paths: RunPaths, claim: Claim) -> None:
    claim("other", 0)
    claim("this", 1)
    async with manager(paths, 0), manager(paths, 1, hangs=True):
        assert (await serve.ask_health(settings(paths)))["status"] == "down"
        assert (await serve.ask_health(settings(paths, 0)))["slot"] == 0


async def test_a_slot_that_a_killed_manager_of_this_host_left_does_not_count(paths: RunPaths, claim: Claim) -> None:
    claim("this", 0)
    claim("this", 1)
    async with manager(paths, 1):
        assert (await serve.ask_health(settings(paths)))["slot"] == 1


async def test_from_a_host_without_a_manager_any_may_answer(paths: RunPaths, claim: Claim) -> None:
    claim("other", 0)
    claim("yet another", 1)
    claim("this", 2)
    paths.manager_lock(2).unlink()
    async with manager(paths, 0, hangs=True), manager(paths, 1):
        assert (await serve.ask_health(settings(paths)))["slot"] == 1
    assert (await serve.ask_health(settings(paths)))["status"] == "down"


async def test_a_slot_taken_over_belongs_to_who_took_it(paths: RunPaths, claim: Claim) -> None:
    paths.manager_lock(0).write_text("this, with a longer name")
    claim("other", 0)
    claim("this", 1)
    async with manager(paths, 0), manager(paths, 1, hangs=True):
        assert (await serve.ask_health(settings(paths)))["status"] == "down"


async def test_a_manager_answers_its_probes_while_it_starts_and_refuses_the_rest(paths: RunPaths) -> None:
    """PostgreSQL is away, so the start waits for it; what is asked meanwhile is answered all the same."""
    nowhere = SecretStr("postgresql://nobody@127.0.0.1:9/none")
    app = make_app(Settings(_env_file=None, run_dir=paths.run_dir, database_url=nowhere, runtime="local"))
    server = uvicorn.Server(server_config(app, uds=str(paths.manager_socket(0))))
    serving = asyncio.create_task(server._serve(), name="serving")
    transport = httpx.AsyncHTTPTransport(uds=str(paths.manager_socket(0)))
    try:
        await until(lambda: server.started)
        async with httpx.AsyncClient(transport=transport, base_url="http://manager") as http:
            assert (await http.get("/livez")).status_code == 200
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json(), ready.headers["retry-after"]) == (503, {"status": "starting"}, "1")
            refused = await http.get("/api/v1/sessions")
            assert (refused.status_code, refused.json()["code"]) == (503, "dependency_away")
        assert (await serve.ask_health(settings(paths, 0)))["status"] == "starting"
    finally:
        server.should_exit = True
        await serving


def test_two_managers_never_share_a_name(paths: RunPaths) -> None:
    first, second = (Settings(_env_file=None, run_dir=paths.run_dir / name) for name in ("a", "b"))
    assert drivers.holder(first, 0) != drivers.holder(second, 0)
    assert drivers.holder(first, 0) != drivers.holder(first, 1)
    assert drivers.holder(first, 0) == drivers.holder(first, 0)


def test_main_app_claims_a_slot_of_its_own(paths: RunPaths) -> None:
    """`uvicorn main:app` twice, in one run directory."""
    held, lock = serve.claim_slot(paths, None)
    code = "import main; print(main._slot)"
    environment = {**os.environ, "JELMORE_RUN_DIR": str(paths.run_dir), "JELMORE_LOG_LEVEL": "error"}
    folder = Path(bootstrap.__file__).parents[3]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    os.close(lock)
    assert (held, found.stdout.strip()) == (0, "1")


async def test_a_server_that_stops_lets_its_requests_answer_first(paths: RunPaths) -> None:
    left = asyncio.Event()

    async def waits(_: Request) -> PlainTextResponse:
        await left.wait()
        return PlainTextResponse("accepted")

    app = Starlette(routes=[Route("/", waits)])
    app.state.leave = left.set
    server = Server(server_config(app, uds=str(paths.manager_socket(0)), lifespan="off"))
    serving = asyncio.create_task(server._serve(), name="serving")
    transport = httpx.AsyncHTTPTransport(uds=str(paths.manager_socket(0)))
    await until(lambda: server.started)
    async with httpx.AsyncClient(transport=transport, base_url="http://manager") as http:
        asking = asyncio.create_task(http.get("/"), name="asking")
        await until(lambda: len(server.server_state.tasks) == 1)
        server.should_exit = True
        assert (await asking).text == "accepted"
    await serving
