"""The HTTP side, spoken to without a network: paths, bounds and the shape of errors."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
import pytest

from jelmore_demo import app as demo_app
from jelmore_demo.__main__ import Address, address
from jelmore_demo.app import create_app

TOOLS = [{"name": "Bash"}]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://demo", timeout=10) as opened:
        yield opened


def body(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "tools": TOOLS, "messages": [{"role": "user", "content": prompt}]} | fields


async def test_a_document(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages?beta=true", json=body("hello"))
    assert answer.status_code == 200
    assert answer.json()["content"] == [{"type": "text", "text": "[demo model] hello"}]


async def test_a_stream(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json=body("demo> words 5000", stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert sum(fields["type"] == "content_block_delta" for fields in data) == 5000
    assert data[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_is_an_http_status_that_must_not_be_retried(client: httpx.AsyncClient, stream: bool) -> None:
    answer = await client.post("/v1/messages", json=body("demo> say lost\ndemo> fail 529", stream=stream))
    assert answer.status_code == 529
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["type"] == "overloaded_error"


async def test_a_pause_comes_before_an_answer_in_one_piece(client: httpx.AsyncClient) -> None:
    began = asyncio.get_running_loop().time()
    answer = await client.post("/v1/messages", json=body("demo> sleep 0.1\ndemo> say awake"))
    assert answer.json()["content"][0]["text"] == "[demo model] awake"
    assert asyncio.get_running_loop().time() - began >= 0.1


async def test_a_pause_ends_when_the_client_goes_away() -> None:
    content = json.dumps(body("demo> sleep 600\ndemo> fail 500")).encode()
    arriving: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": content}, {"type": "http.disconnect"}]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return arriving.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/messages", "headers": [], "query_string": b""}
    async with asyncio.timeout(10):
        await create_app()(scope, receive, send)
    assert sent[0]["status"] == 500


async def test_count_tokens_models_and_health(client: httpx.AsyncClient) -> None:
    counted = await client.post("/v1/messages/count_tokens", json=body("a b c", system="d e"))
    assert counted.json() == {"input_tokens": 5}
    assert (await client.get("/v1/models")).json()["data"][0]["id"] == "demo-model"
    assert (await client.get("/health")).json()["status"] == "ok"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b"[" * 100_000, "body"),
        (b'{"messages": []}', "model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "robot", "content": ""}]}', "messages.0.role"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 7}]}', "messages.0.content"),
        (b'{"model": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]}', "messages.0.content"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}', "body"),
    ],
)
async def test_a_bad_body_is_named(client: httpx.AsyncClient, content: bytes, where: str) -> None:
    answer = await client.post("/v1/messages", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith(f"[demo model] {where}")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/messages", 405), ("POST", "/v1/other", 404)])
async def test_other_paths_have_the_same_shape(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (status, "error")


async def test_a_body_over_the_bound_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", content=b" " * (demo_app.MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/a/b.sock", Address(path="/a/b.sock")),
        ("tcp:127.0.0.1:8900", Address(host="127.0.0.1", port=8900)),
        ("tcp:[::1]:0", Address(host="::1", port=0)),
    ],
)
def test_an_address(text: str, expected: Address) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "unix:", "tcp:8900", "tcp:host:", "tcp:host:65536", "tcp:host:x", "http://x"])
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is neither unix:/path nor tcp:host:port"):
        address(text)
