"""What users get wrong: each a clear answer, nothing half-made, nothing shown to those who may not see it."""

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus

from jelmore_protocol.tokens import Audience, Claims, Scope, sign
from tests.support.stack import Stack
from tests.support.stack_client import SESSIONS, Api, Talk
from tests.support.stack_stores import signing_key

NOBODY = "018f0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"qurey": "typo"}, "qurey"),
        ({"query": 7}, "query"),
        ({"query": ""}, "query"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"k": "x" * 20_000}}, "metadata"),
        ({"permission_mode": "root"}, "permission_mode"),
        ({"timeout_minutes": -1}, "timeout_minutes"),
        ({"limits": {"cpus": "many"}}, "limits.cpus"),
        ({"limits": {"memory": "1m"}}, "limits.memory_bytes"),
        ({"limits": {"disks": 3}}, "limits.disks"),
        ({"allowed_tools": "Bash"}, "allowed_tools"),
    ],
)
async def test_an_invalid_request_is_refused_by_name(quick_api: Api, body: dict[str, Any], field: str) -> None:
    answer = await quick_api.http.post(SESSIONS, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [each["field"] for each in problem["errors"]] == [field]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert await quick_api.live() == []


async def declaring(api: Api, size_bytes: int) -> bytes:
    """Return the answer to a body whose size is only declared: it must come before the body does."""
    host, _, port = api.stack.url.removeprefix("http://").partition(":")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = (f"POST {SESSIONS} HTTP/1.1", f"Host: {host}", f"X-API-Key: {api.stack.api_key}", "Connection: close")
        more = ("Content-Type: application/json", f"Content-Length: {size_bytes}", "", "{")
        writer.write("\r\n".join([*lines, *more]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return answer


async def test_bodies_that_are_no_json_or_too_large(quick_api: Api) -> None:
    http, kind = quick_api.http, {"Content-Type": "application/json"}
    broken = await http.post(SESSIONS, content=b'{"query": ', headers=kind)
    assert (broken.status_code, broken.json()["code"]) == (422, "invalid")
    other = await http.post(
        SESSIONS, content=b"query=hello", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert (other.status_code, other.json()["code"]) == (415, "unsupported_media_type")
    assert (await declaring(quick_api, 9_000_000)).startswith(b"HTTP/1.1 413 ")
    long = await http.post(SESSIONS, json={"query": "x" * 1_100_000})
    assert (long.status_code, long.json()["code"]) == (413, "too_large")
    assert await quick_api.live() == []


@pytest.mark.parametrize("session_id", [NOBODY, "nonsense", "..%2f..%2fhealth", NOBODY.replace("-", "")])
async def test_unknown_and_malformed_ids_are_not_found(quick_api: Api, session_id: str) -> None:
    for method, what in (("GET", ""), ("DELETE", ""), ("GET", "/output"), ("GET", "/stream"), ("POST", "/interrupt")):
        answer = await quick_api.http.request(method, f"{SESSIONS}/{session_id}{what}")
        assert answer.status_code == 404, (method, what, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    answer = await quick_api.http.post(f"{SESSIONS}/{session_id}/input", json={"input": "x"})
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/s/" + NOBODY + "/ws", "/s/" + NOBODY + "/health", "/s/nonsense/ws", "/nothing"])
async def test_an_address_of_nobody_is_a_problem(quick_api: Api, quickstart: Stack, path: str) -> None:
    answer = await quick_api.http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == 404
    if path.endswith("/ws"):
        with pytest.raises(InvalidStatus) as refused:
            await Talk(f"{quickstart.url.replace('http', 'ws', 1)}{path}", token="x").__aenter__()
        assert refused.value.response.status_code == 404


async def test_inputs_that_cannot_be(quick_api: Api) -> None:
    created = await quick_api.create()
    for body, status in (({"input": ""}, 422), ({"input": "  \n"}, 422), ({}, 422), ({"input": "x", "to": 1}, 422)):
        answer = await quick_api.post(created["id"], "/input", body)
        assert answer.status_code == status, answer.text
    answer = await quick_api.post(created["id"], "/permissions/none", {"decision": "allow"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_request")
    answer = await quick_api.post(created["id"], "/permissions/none", {"decision": "perhaps"})
    assert answer.status_code == 422
    assert [event for event in await quick_api.all(created["id"], "output") if event["kind"] == "input"] == []


async def closing(url: str, token: str | None) -> tuple[int | None, list[dict[str, Any]]]:
    """Return how a connection was closed and what it was sent before."""
    async with Talk(url, token=token, after=0) as talk:
        code = await talk.closed()
    return code, talk.frames


@pytest.mark.parametrize("path", ["own", "stream"])
async def test_a_websocket_shows_nothing_without_the_right_token(quick_api: Api, quickstart: Stack, path: str) -> None:
    created, other = await quick_api.create("demo> say secret things"), await quick_api.create()
    session_id, key = created["id"], await signing_key(quickstart)
    await quick_api.until(session_id, status="waiting_input")
    stream = f"{quickstart.url.replace('http', 'ws', 1)}{SESSIONS}/{session_id}/stream"
    url = created["urls"]["ws"] if path == "own" else stream

    def token(**changes: Any) -> str:
        plain: dict[str, Any] = {
            "session_id": session_id,
            "audience": Audience.SESSION,
            "scopes": frozenset({Scope.READ}),
            "subject": "test",
            "expires_at": int(time.time()) + 60,
        }
        return sign(Claims(**{**plain, **changes}), key)

    async with Talk(url, token=token()) as talk:  # the key is the right one: what follows is refused for its claims
        await talk.frame(lambda frame: frame["type"] == "hello")

    for bad, code in (
        ("nonsense", 4401),
        (created["token"][:-8] + "AAAAAAAA", 4401),
        (token(expires_at=int(time.time()) - 1), 4401),
        (token(audience=Audience.GATEWAY), 4403),
        (token(scopes=frozenset()), 4403),
        (other["token"], 4403),
        (token(session_id=str(uuid4())), 4403),
    ):
        assert await closing(url, bad) == (code, []), json.dumps(bad)


async def test_a_token_that_only_reads_cannot_write(quick_api: Api) -> None:
    created = await quick_api.create()
    renewed = await quick_api.post(created["id"], "/token", {"scopes": ["read"]})
    assert renewed.status_code in {200, 201}, renewed.text
    async with Talk(created["urls"]["ws"], token=renewed.json()["token"]) as talk:
        await talk.frame(lambda frame: frame["type"] == "hello")
        await talk.send(type="input", input="demo> say no", id="i")
        refused = await talk.frame(lambda frame: frame.get("id") == "i")
        assert (refused["type"], refused["code"]) == ("error", "forbidden")
        await talk.send(type="nonsense", id="n")
        bad = await talk.frame(lambda frame: frame["type"] == "error" and frame["code"] == "bad_frame")
        assert "secret" not in bad["message"]
        await talk.send(type="ping", id="p")
        await talk.frame(lambda frame: frame["type"] == "pong" and frame["id"] == "p")
