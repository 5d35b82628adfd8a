"""What is refused over HTTP, and how: parameters, bodies, ids, rates, and parts that are away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jelmore.api.services import ApiConfig
from tests.integration.api.talking import UNKNOWN
from tests.integration.api.world import World, world

NUMBERS = ["-1", "1.0", "1.5", "x", "", " 1", "+1", "1_0", "0x1", "nan", "99999999999999999999", "%EF%BC%91"]


@pytest.mark.parametrize(
    "path", ["/output?after=", "/events?after=", "/messages?after=", "/stream?after=", "/logs?lines="]
)
@pytest.mark.parametrize("number", NUMBERS)
async def test_what_is_not_a_plain_number_is_refused_by_name(api: World, path: str, number: str) -> None:
    async with api.client() as http:
        answer = await http.get(f"/api/v1/sessions/{UNKNOWN}{path}{number}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"][0]["field"] == path.strip("/=").partition("?")[2]


@pytest.mark.parametrize("path", [f"/api/v1/sessions/{UNKNOWN}/input", "/api/v1/admin/drain"])
@pytest.mark.parametrize(
    "number", ["-1", "601", "x", "", " 1", "+1", "1_0", "0x1", "1e2", "nan", "inf", ".5", "%EF%BC%91"]
)
async def test_what_is_not_a_plain_time_to_wait_is_refused_by_name(api: World, path: str, number: str) -> None:
    async with api.client() as http:
        answer = await http.post(f"{path}?wait={number.replace('+', '%2B')}", json={"input": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"][0]["field"] == "wait"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("?limits=1", "limits"),
        ("?limit=1&limit=2", "limit"),
        ("?metadata=1", "metadata"),
        (f"/{UNKNOWN}?wait=1", "wait"),
        (f"/{UNKNOWN}/output?after=1&after=2", "after"),
        (f"/{UNKNOWN}/output?kinds=state", "kinds"),
        (f"/{UNKNOWN}/stream?from=1", "from"),
        (f"/{UNKNOWN}/stream?after=1&after=1", "after"),
        ("/stats?a%20b=1", "a_b"),
    ],
)
async def test_unknown_and_repeated_parameters_are_refused_by_name(api: World, path: str, field: str) -> None:
    async with api.client() as http:
        answer = await http.get(f"/api/v1/sessions{path}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
        session_id = (await http.post("/api/v1/sessions")).json()["id"]
        twice = await http.get(f"/api/v1/sessions/{session_id}/output?kind=state&kind=input")
        assert twice.status_code == 200


@pytest.mark.parametrize("bad", [UNKNOWN, "x", "..%2f", "0198c0de00007000800000000000001", "{" + UNKNOWN + "}", "%00"])
async def test_unknown_and_malformed_ids_get_the_same_answer(api: World, bad: str) -> None:
    async with api.client() as http:
        calls: list[tuple[str, str, Any]] = [
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/input", {"input": "x"}),
            ("POST", "/interrupt", None),
            ("POST", "/resume", None),
            ("POST", "/restart", None),
            ("POST", "/token", None),
            ("GET", "/permissions", None),
            ("GET", "/output", None),
            ("GET", "/events", None),
            ("GET", "/messages", None),
            ("GET", "/stream", None),
            ("GET", "/health", None),
            ("GET", "/logs", None),
        ]
        for method, path, body in calls:
            answer = await http.request(method, f"/api/v1/sessions/{bad}{path}", json=body)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("key", ["", None])
async def test_an_endless_body_is_not_read_for_ever(api: World, key: str | None) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    async with api.client(key) as http, asyncio.timeout(10):
        answer = await http.post("/api/v1/sessions", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == (413 if key is None else 401)
    assert answer.json()["code"] == ("too_large" if key is None else "unauthenticated")


async def test_a_body_that_says_it_is_too_large_is_not_read(api: World) -> None:
    async with api.client() as http:
        headers = {"Content-Type": "application/json"}
        answer = await http.post("/api/v1/sessions", content=b"x" * (7 * 2**20), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'"text"', 422, "invalid"),
        (b'{"\\ud800": 1}', 422, "invalid"),
        (b'{"query": "\\ud800"}', 422, "invalid"),
        (b'{"query": "\\u0000"}', 422, "invalid"),
        (b'{"metadata": {"a": NaN}}', 422, "invalid"),
        (b'{"max_turns": 1' + b"0" * 5000 + b"}", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b"\xff\xfe", 422, "invalid"),
        (b'{"query": "\xff"}', 400, "bad_request"),
        (b'{"limits": {"cpus": 99}}', 422, "invalid"),
        (b'{"unknown": 1}', 422, "invalid"),
    ],
)
async def test_nonsense_is_a_clear_refusal(api: World, content: bytes, status: int, code: str) -> None:
    async with api.client() as http:
        answer = await http.post("/api/v1/sessions", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert (await http.get("/api/v1/sessions")).json() == []


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ([], "input", "at least 1 item"),
        ("  ", "input", "must not be empty"),
        ([{"type": "text", "text": ""}], "input.0.text.text", "at least 1 character"),
        (5, "input", "valid string"),
    ],
)
async def test_an_input_is_refused_by_the_name_of_its_field(api: World, given: object, field: str, words: str) -> None:
    async with api.client() as http:
        session = (await http.post("/api/v1/sessions", json={})).json()["id"]
        answer = await http.post(f"/api/v1/sessions/{session}/input", json={"input": given})
    assert answer.status_code == 422
    first, *others = answer.json()["errors"]
    assert (first["field"], words in first["message"]) == (field, True), answer.text
    assert others == [] or given == 5, "as a text or as a list, not as what it is not"


async def test_a_form_is_not_json(api: World) -> None:
    async with api.client() as http:
        answer = await http.post("/api/v1/sessions", data={"query": "x"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_database_that_is_away_is_said_and_not_an_empty_success(api: World) -> None:
    async with api.client() as http:
        await http.get("/api/v1/sessions")  # the key is known from here on for a moment
        api.store.away = True
        for path in ("/api/v1/sessions", "/api/v1/sessions/stats", f"/api/v1/sessions/{UNKNOWN}", "/metrics"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "dependency_away")
            assert int(answer.headers["retry-after"]) >= 1
        api.store.away = False


async def test_a_bug_is_a_500_that_reveals_nothing(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(api.store, "list", explode)
    async with api.client() as http:
        answer = await http.get("/api/v1/sessions")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "inner words" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_who_asks_too_often_waits_and_others_do_not() -> None:
    async with (
        world(ApiConfig(rate_limit_per_minute=5)) as api,
        api.client() as http,
        api.client(api.other_key) as other,
    ):
        answers = [await http.get("/api/v1/sessions") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await other.get("/api/v1/sessions")).status_code == 200


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "not base64!"}}


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/{id}/input", {"input": ""}, {"input"}),
        ("/{id}/input", {"input": 7}, {"input"}),
        ("/{id}/input", {"input": []}, {"input"}),
        ("/{id}/input", {"input": [IMAGE]}, {"input.0.image.source.base64.data"}),
        ("/{id}/input", {"input": [{"type": "film"}]}, {"input.0"}),
        ("", {"network": "closed"}, {"network"}),
        ("", {"network": {"mode": "custom", "allow": [7]}}, {"network", "network.allow.0"}),
        ("", {"limits": {"memory": []}}, {"limits.memory"}),
        ("", {"limits": {"workspace_bytes": "many"}}, {"limits.workspace_bytes"}),
        ("", {"skills": 7}, {"skills"}),
        ("", {"metadata": {"list[str]": "x" * 70_000}}, {"metadata"}),
    ],
)
async def test_a_value_of_several_types_is_named_as_its_field(
    api: World, path: str, body: dict[str, Any], fields: set[str]
) -> None:
    """Not as pydantic names its types: `input.function-after[_bounded_input(), …]`."""
    async with api.client() as http:
        session_id = (await http.post("/api/v1/sessions")).json()["id"]
        answer = await http.post(f"/api/v1/sessions{path.replace('{id}', session_id)}", json=body)
    assert answer.status_code == 422, answer.text
    assert {each["field"] for each in answer.json()["errors"]} == fields, answer.text
    assert "[" not in answer.json()["detail"].replace("[a-z]", "")
