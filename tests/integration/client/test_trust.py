"""Certificates that the client trusts, against a TLS server with an authority of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from jelmore_client import AsyncJelmore, CertificateError, ConnectionFailedError, Jelmore, JelmoreError
from jelmore_client._async_port import AsyncPortConnection
from jelmore_client.cli import doctor
from jelmore_client.cli.contexts import Server
from jelmore_client.core.trust import certificate_problem, trusted
from tests.integration.gateway.egress_world import issue, server_context

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Place:
    """A server, and the file with its authority's certificate."""

    url: str
    authority: Path


async def _answer(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    certificate = issue(tmp_path, "localhost")
    app = web.Application()
    app.router.add_get("/{path:.*}", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(certificate))
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # of a server on TCP
    yield Place(f"https://localhost:{port}", certificate[0])
    await runner.cleanup()


async def test_an_authority_that_is_not_known_is_refused_with_what_to_do(place: Place) -> None:
    async with AsyncJelmore(place.url) as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(CertificateError, match=r"not trusted here \(self.signed.*SSL_CERT_FILE") as caught:
            await client.health()
        assert asyncio.get_running_loop().time() - began < 2  # it is not tried again
    assert isinstance(caught.value, ConnectionFailedError)
    with pytest.raises(CertificateError):
        async with AsyncPortConnection(place.url.replace("https", "wss"), None, None):
            pass


async def test_the_file_of_the_environment_is_trusted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(place.authority))
    async with AsyncJelmore(place.url) as client:
        assert (await client.health())["status"] == "ok"
    with pytest.raises(JelmoreError, match="200"):  # TLS is agreed upon, the server knows no WebSockets
        async with AsyncPortConnection(place.url.replace("https", "wss"), None, None):
            pass


async def test_what_this_machine_trusts_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certifi.where", lambda: pytest.fail("the machine has authorities of its own"))
    assert trusted("https://jelmore.test").get_ca_certs()


def test_a_machine_without_authorities_has_those_of_certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert trusted("https://jelmore.test").get_ca_certs()


def test_without_tls_nobody_is_trusted() -> None:
    context = trusted("http://jelmore.test")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.get_ca_certs()
    assert certificate_problem(OSError("refused")) is None


async def test_the_doctor_says_that_it_is_the_certificate(place: Place) -> None:
    def found() -> list[tuple[str, bool, str]]:
        return [(each.check, each.good, each.fix) for each in doctor._connection(Server(place.url, "k", "a flag"))]

    assert await asyncio.to_thread(found) == [("server", False, doctor.TRUST)]
    with Jelmore(place.url) as client, pytest.raises(CertificateError):
        await asyncio.to_thread(client.health)
