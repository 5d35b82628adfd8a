"""No library's error leaves its driver: every class it has is mapped."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from uuid import UUID

import aiohttp
import asyncpg
import nats.errors
import nats.js.errors
import pytest
import redis.exceptions
from asyncpg import exceptions as postgres_exceptions

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.gateway_link import GatewayLink
from jelmore.drivers.gateway_repositories import GatewayRepositories
from jelmore.drivers.http_streams import pieces
from jelmore.drivers.http_webhooks import HttpWebhooks
from jelmore.drivers.nats_events import NatsEvents
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.port_http import AiohttpPortHttp
from jelmore.drivers.postgres_calls import mapped
from jelmore.drivers.public_addresses import AllowedHosts
from jelmore.drivers.redis_calls import deadline
from jelmore.drivers.runner_answers import translated
from jelmore.drivers.runner_link import RunnerLink
from jelmore.drivers.runner_ports import RunnerPorts
from jelmore.drivers.runner_terminals import RunnerTerminals
from jelmore.drivers.workspace_link import WorkspaceLink
from jelmore.ports import PortClosedError, PortHandshakeError, PortRequest
from jelmore.session.errors import DependencyError, FaultError, JelmoreError, NotFoundError, RefusedError, StaleError
from jelmore.session.world import ControlAddress
from jelmore_protocol.gateway import PushRequest, RepositoryRequest
from tests.support.library_errors import OF_AIOHTTP, built, classes

OF_POSTGRES = [
    *classes(postgres_exceptions, asyncpg.PostgresError),
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    postgres_exceptions.DataError,
    OSError,
    ConnectionResetError,
    TimeoutError,
    EOFError,
]


@pytest.mark.parametrize("kind", OF_POSTGRES)
def test_what_postgres_raises_is_ours(kind: type[Exception]) -> None:
    with pytest.raises(JelmoreError), mapped():
        raise kind("words")


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        (asyncpg.CannotConnectNowError, DependencyError),
        (asyncpg.AdminShutdownError, DependencyError),
        (asyncpg.TooManyConnectionsError, DependencyError),
        (asyncpg.DeadlockDetectedError, DependencyError),
        (asyncpg.DiskFullError, DependencyError),
        (asyncpg.IdleInTransactionSessionTimeoutError, DependencyError),
        (asyncpg.ReadOnlySQLTransactionError, DependencyError),
        (asyncpg.InvalidPasswordError, RefusedError),
        (asyncpg.InvalidCatalogNameError, RefusedError),
        (asyncpg.UndefinedTableError, RefusedError),
        (asyncpg.CheckViolationError, FaultError),
        (asyncpg.UntranslatableCharacterError, FaultError),
    ],
)
def test_dependency_errors_refusals_and_bugs_are_distinguished(kind: type[Exception], ours: type[JelmoreError]) -> None:
    with pytest.raises(ours), mapped():
        raise kind("words")


def test_our_own_errors_and_bugs_pass() -> None:
    with pytest.raises(StaleError), mapped():
        raise StaleError("x")
    with pytest.raises(ZeroDivisionError), mapped():
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [*classes(redis.exceptions, redis.exceptions.RedisError), OSError, EOFError])
async def test_what_redis_raises_is_ours(kind: type[Exception]) -> None:
    with pytest.raises((DependencyError, RefusedError)):
        async with deadline(1):
            raise kind("1 host:1")


async def test_a_wrong_password_is_not_worth_a_retry() -> None:
    with pytest.raises(RefusedError):
        async with deadline(1):
            raise redis.exceptions.AuthenticationError("words")


OF_NATS = [
    *classes(nats.errors, nats.errors.Error),
    *classes(nats.js.errors, nats.js.errors.Error),
    OSError,
    EOFError,
    TimeoutError,
]


@pytest.mark.parametrize("kind", OF_NATS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
async def test_what_nats_raises_is_ours(kind: type[Exception]) -> None:
    events = NatsEvents("nats://127.0.0.1:1", instance="i", max_age_s=0, max_bytes=0)
    with pytest.raises((DependencyError, RefusedError)):
        async with events._deadline():
            raise built(kind)


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_to_the_runner_link_is_ours(kind: type[Exception]) -> None:
    with pytest.raises(DependencyError):
        async with translated(1):
            raise built(kind)


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_to_the_engine_is_ours(kind: type[Exception]) -> None:
    engine = DockerEngine(EngineAddress("unix:///nowhere.sock", None))
    with pytest.raises(DependencyError):
        async with engine._translated(1):
            raise built(kind)


@pytest.fixture(params=OF_AIOHTTP, ids=lambda kind: kind.__name__)
def failing_http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    """Every HTTP call raises this class of the library's errors."""
    kind: type[Exception] = request.param

    async def fail(*_: object, **__: object) -> None:
        raise built(kind)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)
    return kind


async def test_what_aiohttp_raises_to_the_gateway_link_is_ours(failing_http: type[Exception], tmp_path: Path) -> None:
    link = GatewayLink(tmp_path / "gateway.sock")
    for call in (link.check, link.registered, lambda: link.withdraw("key")):
        with pytest.raises(DependencyError, match="gateway"):
            await call()


async def test_what_aiohttp_raises_to_the_edge_is_ours(failing_http: type[Exception], tmp_path: Path) -> None:
    edge = CaddyEdge(
        EdgeOptions(RunPaths(tmp_path), "http://localhost", ":80", ":443", "acme"), admin_socket=tmp_path / "admin.sock"
    )
    with pytest.raises(DependencyError, match="caddy"):
        await edge._admin("GET", "/config/")


async def test_what_aiohttp_raises_to_the_workspace_link_is_ours(failing_http: type[Exception]) -> None:
    at = ControlAddress("tcp:127.0.0.1:1", UUID(int=1), 1)
    with pytest.raises(DependencyError, match="workspace"):
        async with WorkspaceLink().call(at, {"call": "list"}):
            pass


class _Silent:
    """A connection on which nothing happens."""

    async def receive(self) -> bytes:
        raise PortClosedError(in_order=True)

    async def send(self, data: bytes) -> None:
        """Take the bytes."""

    async def end(self) -> None:
        """Take the end."""

    async def close(self) -> None:
        """Close."""


async def test_what_aiohttp_raises_to_ports_is_ours(failing_http: type[Exception]) -> None:
    at = ControlAddress("tcp:127.0.0.1:1", UUID(int=1), 1)
    with pytest.raises((DependencyError, NotFoundError)):
        await RunnerPorts().connect(at, 3000, subject="key")
    request = PortRequest("GET", "/", [])
    with pytest.raises((DependencyError, PortHandshakeError)):
        async with AiohttpPortHttp().request(_Silent(), request):
            pass
    with pytest.raises((DependencyError, PortHandshakeError)):
        async with AiohttpPortHttp().socket(_Silent(), request, []):
            pass


async def test_what_aiohttp_raises_to_a_webhook_is_an_outcome(failing_http: type[Exception]) -> None:
    sender = HttpWebhooks(AllowedHosts(), timeout_s=5)
    try:
        sent = await sender.send("https://203.0.113.1/hook", {}, b"{}")
    finally:
        await sender.close()
    assert sent.status is None
    assert sent.error


async def test_what_aiohttp_raises_to_the_repositories_is_ours(failing_http: type[Exception], tmp_path: Path) -> None:
    repositories = GatewayRepositories(tmp_path / "gateway.sock")
    with pytest.raises(DependencyError, match="gateway"):
        async with repositories.fetch(RepositoryRequest(url="https://git.example/a", max_bytes=1)):
            pass
    with pytest.raises(DependencyError, match="gateway"):
        await repositories.push(PushRequest(url="https://git.example/a", branch="b", max_bytes=1), _nothing())


async def _nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_within_a_body_is_ours(kind: type[Exception]) -> None:
    class Content:
        async def read(self, _: int) -> bytes:
            raise built(kind)

    class Response:
        content = Content()

    with pytest.raises(DependencyError, match="broken"):
        await anext(pieces(cast("aiohttp.ClientResponse", Response()), 1, lambda _: DependencyError("x", "broken")))


async def test_what_aiohttp_raises_to_a_terminal_and_a_relay_is_ours(failing_http: type[Exception]) -> None:
    at = ControlAddress("tcp:127.0.0.1:1", UUID(int=1), 1)
    with pytest.raises(DependencyError, match="runner"):
        await RunnerTerminals().connect(at, "{}", subject="s", can_write=True)
    with pytest.raises(DependencyError, match="runner"):
        await anext(RunnerLink().relay(at, 0))
