"""The outermost layer, around applications of one line."""

import asyncio
import json

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jelmore.api.metrics import Metrics
from jelmore.api.middleware import Outermost


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("the inner secret")


async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise ZeroDivisionError("the inner secret")


async def answers_unread(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def client(app: ASGIApp, metrics: Metrics | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Outermost(app, metrics or Metrics()))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_request_id_is_echoed_or_made() -> None:
    async with client(hello) as http:
        given = await http.get("/", headers={"X-Request-ID": "abc-1"})
        made = await http.get("/")
        bad = await http.get("/", headers={"X-Request-ID": "a b\tc" * 99})
    assert given.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 32
    assert len(bad.headers["x-request-id"]) == 32


async def test_one_line_per_request_without_the_query() -> None:
    with structlog.testing.capture_logs() as lines:
        async with client(hello) as http:
            await http.get("/some/path?token=sesame", headers={"X-API-Key": "sesame"})
    (line,) = lines
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/some/path", 200)
    assert "sesame" not in str(line)


async def test_a_bug_is_a_problem_without_details_and_one_log_line_with_all() -> None:
    with structlog.testing.capture_logs() as lines:
        async with client(broken) as http:
            answer = await http.get("/", headers={"X-Request-ID": "r9"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal"
    assert answer.json()["request_id"] == "r9"
    assert "secret" not in answer.text
    (error,) = [line for line in lines if line["log_level"] == "error"]
    assert "the inner secret" in error["error"]


async def test_a_bug_in_the_middle_of_an_answer_breaks_it_off_but_not_the_server() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    with structlog.testing.capture_logs() as lines:
        await Outermost(breaks_off, Metrics())(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"], "an answer that broke off must not look whole"
    assert [line["event"] for line in lines].count("request_failed") == 1


@pytest.mark.parametrize(("body_bytes", "kept_open"), [(200_000, True), (64 * 1024 * 1024, False)])
async def test_what_is_left_of_a_body_is_read_before_the_answer_but_not_without_end(
    body_bytes: int, *, kept_open: bool
) -> None:
    left, sent = body_bytes, list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        nonlocal left
        assert not sent, "the peer, still sending, would lose an answer that ends the connection"
        size = min(left, 65_536)
        left -= size
        return {"type": "http.request", "body": bytes(size), "more_body": left > 0}

    headers = [(b"content-length", str(body_bytes).encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    with structlog.testing.capture_logs():
        await Outermost(answers_unread, Metrics())(scope, receive, send)
    assert (left == 0) is kept_open
    assert ((b"connection", b"close") not in sent[0]["headers"]) is kept_open


@pytest.mark.parametrize(("app", "status"), [(hello, 200), (broken, 500)])
async def test_every_answer_is_counted(app: ASGIApp, status: int) -> None:
    metrics = Metrics()
    async with client(app, metrics) as http:
        await http.get("/")
        await http.get("/")
    line = f'jelmore_http_requests_total{{method="GET",operation="none",status="{status}"}} 2.0'
    assert line in metrics.text({}, 0, 3).decode()


async def cancelled(app: ASGIApp) -> list[Message]:
    """Serve one request, cancel it while it waits as a server does that stops, and return what was sent."""
    sent, waits = list[Message](), asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        waits.set()
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    serving = asyncio.create_task(Outermost(app, Metrics())(scope, receive, send), name="a request")
    await waits.wait()
    serving.cancel()
    await serving
    return sent


async def waits_for_ever(_: Scope, receive: Receive, __: Send) -> None:
    await receive()


async def waits_in_the_middle(_: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await receive()


async def test_a_request_that_a_stop_interrupts_gets_an_answer() -> None:
    with structlog.testing.capture_logs():
        start, body = await cancelled(waits_for_ever)
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"1")
    problem = json.loads(body["body"])
    assert (problem["code"], problem["retryable"]) == ("dependency_away", True)


async def test_an_answer_that_a_stop_interrupts_does_not_look_whole() -> None:
    with structlog.testing.capture_logs() as lines:
        sent = await cancelled(waits_in_the_middle)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert [line["event"] for line in lines] == ["request"]
