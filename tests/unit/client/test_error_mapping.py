"""No error of the HTTP library leaves the client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets.exceptions

from jelmore_client import AsyncJelmore, Jelmore, _async_terminal
from jelmore_client._async_terminal import AsyncTerminal
from jelmore_client.core.requests import Request
from jelmore_client.core.streams import Cursor
from jelmore_client.errors import ConnectionFailedError, JelmoreError, connection_failed
from tests.support.library_errors import built, classes

OF_HTTPX = [*classes(httpx, httpx.HTTPError), httpx.InvalidURL]
OF_WEBSOCKETS = [*classes(websockets.exceptions, websockets.exceptions.WebSocketException), OSError, TimeoutError]
POST = Request("POST", "/api/v1/sessions")


def failing(kind: type[Exception]) -> httpx.MockTransport:
    def fail(_: httpx.Request) -> httpx.Response:
        raise built(kind)

    return httpx.MockTransport(fail)


@pytest.mark.parametrize("kind", OF_HTTPX, ids=lambda kind: kind.__name__)
async def test_what_httpx_raises_is_ours(kind: type[Exception]) -> None:
    async with AsyncJelmore("http://127.0.0.1:1") as client:
        client._http = httpx.AsyncClient(base_url=client.url, transport=failing(kind))
        with pytest.raises(ConnectionFailedError, match="words"):
            await client._send_once(POST)
        with pytest.raises(ConnectionFailedError, match="words"):
            await anext(client.pieces(POST))
        with pytest.raises(ConnectionFailedError, match="words"):
            await anext(client.stream("/api/v1/sessions/x/stream", Cursor(after=0)))


@pytest.mark.parametrize("kind", OF_HTTPX, ids=lambda kind: kind.__name__)
def test_what_httpx_raises_is_ours_in_the_synchronous_half(kind: type[Exception]) -> None:
    with Jelmore("http://127.0.0.1:1") as client:
        client._http = httpx.Client(base_url=client.url, transport=failing(kind))
        with pytest.raises(ConnectionFailedError, match="words"):
            client._send_once(POST)


@pytest.mark.parametrize("make", [AsyncJelmore, Jelmore])
def test_an_address_that_is_none_is_ours(make: Any) -> None:
    with pytest.raises(ConnectionFailedError, match="JELMORE_URL"):
        make("http://[::1")


@pytest.mark.parametrize("kind", OF_WEBSOCKETS, ids=lambda kind: kind.__name__)
async def test_what_websockets_raises_to_a_terminal_is_ours(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def fail(*_: object, **__: object) -> AsyncIterator[None]:
        for each in [built(kind)]:
            raise each
        yield

    monkeypatch.setattr(_async_terminal, "connect", fail)
    with pytest.raises(JelmoreError):
        await AsyncTerminal("ws://127.0.0.1:1", None, {}, None).__aenter__()


@pytest.mark.parametrize(("size", "words"), [(16_000_000, "while it was sent 16 MB"), (100, "does not answer")])
def test_a_server_that_breaks_off_a_large_body_may_not_take_it(size: int, words: str) -> None:
    request = httpx.Request("POST", "http://test/", json="x" * (size - 2))
    assert words in str(connection_failed("http://test", httpx.ReadError("", request=request)))
    assert "does not answer" in str(connection_failed("http://test", httpx.ReadError("")))
    assert "does not answer" in str(connection_failed("http://test", httpx.ConnectError("", request=request)))


def test_a_file_that_breaks_off_has_nothing_to_do_with_its_size() -> None:
    request = httpx.Request("PUT", "http://test/files/x", content=b"x" * 16_000_000)
    assert "does not answer" in str(connection_failed("http://test", httpx.ReadError("", request=request)))
