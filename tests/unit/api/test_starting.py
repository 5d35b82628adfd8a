"""Requests that reach a manager before it is ready."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocketDisconnect

from jelmore.api import starting
from jelmore.api.starting import StartGate
from jelmore_protocol.frames import CloseCode


async def _served(_: object) -> PlainTextResponse:
    return PlainTextResponse("served")


def _gated(ready: asyncio.Event) -> StartGate:
    app: ASGIApp = Starlette(routes=[Route(path, _served) for path in ("/api/x", "/readyz")])
    return StartGate(app, ready)


def _client(ready: asyncio.Event) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(_gated(ready)), base_url="http://manager")


async def test_a_request_that_comes_too_early_waits_and_is_served() -> None:
    ready = asyncio.Event()
    async with _client(ready) as client:
        early = asyncio.create_task(client.get("/api/x"), name="early")
        assert (await client.get("/readyz")).text == "served", "probes never wait"
        done, _ = await asyncio.wait([early], timeout=0.05)
        assert not done
        ready.set()
        assert (await early).text == "served"


async def test_a_request_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_PATIENCE_S", 0.01)
    async with _client(asyncio.Event()) as client:
        answer = await client.get("/api/x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["code"] == "dependency_away"


def test_a_websocket_is_closed_and_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_PATIENCE_S", 0.01)
    client = TestClient(_gated(asyncio.Event()))
    with client.websocket_connect("/ws") as websocket, pytest.raises(WebSocketDisconnect) as closed:
        websocket.receive_text()
    assert closed.value.code == CloseCode.TRY_LATER
