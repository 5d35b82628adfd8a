"""No error of the HTTP library leaves the client."""

import inspect
from typing import Any

import httpx
import pytest

from jelmore_client import AsyncJelmore, Jelmore
from jelmore_client.core.requests import Request
from jelmore_client.core.streams import Cursor
from jelmore_client.errors import ConnectionFailedError

OF_HTTPX = [
    kind
    for _, kind in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(kind, (httpx.HTTPError, httpx.InvalidURL))
]
POST = Request("POST", "/api/v1/sessions")


def failure(kind: type[Exception]) -> Exception:
    members = {"__init__": lambda self: Exception.__init__(self, "words"), "__str__": lambda _: "words"}
    made: Exception = type(kind.__name__, (kind,), members)()
    return made


def failing(kind: type[Exception]) -> httpx.MockTransport:
    def fail(_: httpx.Request) -> httpx.Response:
        raise failure(kind)

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
