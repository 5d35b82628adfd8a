"""Make, find, change and end sessions over HTTP."""

import asyncio
from uuid import UUID

import pytest

from jelmore.session.errors import DependencyError
from jelmore.session.record import Detail, Failure
from jelmore.session.states import Fact
from tests.integration.api.talking import UNKNOWN
from tests.integration.api.world import PUBLIC_URL, World, world
from tests.support.waiting import until


async def test_create_show_end(api: World) -> None:
    async with api.client() as http:
        made = await http.post(
            "/api/v1/sessions", json={"query": "hello", "user_id": "ada", "metadata": {"team": "blue"}}
        )
        assert made.status_code == 201, made.text
        body = made.json()
        assert made.headers["location"] == f"/api/v1/sessions/{body['id']}"
        assert body["id"] == body["session_id"]
        assert body["token"].count(".") == 2
        assert body["token_expires_at"].endswith("Z")
        assert body["urls"]["ws"] == f"ws://jelmore.test/s/{body['id']}/ws"
        assert (body["query"], body["user_id"], body["metadata"]) == ("hello", "ada", {"team": "blue"})

        shown = (await http.get(made.headers["location"])).json()
        assert shown["status"] in {"active", "waiting_input"}
        assert "token" not in shown

        ended = await http.delete(made.headers["location"], params={"reason": "enough"})
        assert ended.status_code == 200
        assert (ended.json()["status"], ended.json()["end_reason"]) == ("terminated", "enough")
        again = await http.delete(made.headers["location"], params={"reason": "other"})
        assert again.json() == ended.json()


@pytest.mark.parametrize(
    ("mount", "status", "timeout"),
    [("/api/v1/sessions", 201, 30), ("/api/v1/session", 200, 30), ("/api/sessions", 201, 60)],
)
async def test_a_session_may_be_made_with_no_body_everywhere(api: World, mount: str, status: int, timeout: int) -> None:
    async with api.client() as http:
        made = await http.post(mount)
        assert made.status_code == status, made.text
        assert made.headers["location"].startswith(f"{mount}/")
        assert made.json()["timing"]["timeout_minutes"] == timeout
        assert made.json()["status"] == "waiting_input"
        assert (await http.get(made.headers["location"])).status_code == 200


async def test_an_idempotency_key_makes_one_session(api: World) -> None:
    json_type = {"Content-Type": "application/json"}
    async with api.client(**{"Idempotency-Key": "k"}) as http:
        made = await asyncio.gather(*(http.post("/api/v1/sessions", json={"user_id": "a"}) for _ in range(10)))
        assert len({answer.json()["id"] for answer in made}) == 1
        assert sorted(answer.status_code for answer in made) == [200] * 9 + [201]
        assert {answer.headers.get("idempotency-replayed") for answer in made} == {None, "true"}
        spelled = await http.post("/api/v1/sessions", content=b' {"metadata": {}, "user_id":"a"} ', headers=json_type)
        assert spelled.status_code == 200
        other = await http.post("/api/v1/sessions", json={"user_id": "b"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        long = await http.post("/api/v1/sessions", headers={"Idempotency-Key": "k" * 256})
        assert long.status_code == 422


async def test_a_create_that_is_deleted_meanwhile_is_a_conflict(api: World) -> None:
    api.engine.ready_at_once = False
    async with api.client() as http:
        creating = asyncio.create_task(http.post("/api/v1/sessions"), name="creating")
        await until(lambda: bool(api.store.sessions))
        (session_id,) = api.store.sessions
        assert (await http.delete(f"/api/v1/sessions/{session_id}")).json()["status"] == "terminated"
        answer = await creating
    assert (answer.status_code, answer.json()["code"]) == (409, "session_ended")


@pytest.mark.parametrize(
    ("phase", "wait", "status"), [("running", 1, 200), ("running", 0, 200), ("starting", 1, 503), ("starting", 0, 200)]
)
async def test_a_replay_answers_with_the_current_session_or_with_the_same_failure(
    api: World, phase: str, wait: int, status: int
) -> None:
    async with api.client(**{"Idempotency-Key": "k"}) as http:
        made = await http.post(f"/api/v1/sessions?wait={wait}")
        session = api.store.sessions[UUID(made.json()["id"])]
        failed, drafts = session.after(Fact.FAILED, session.created_at, Detail(failure=Failure(phase, "it broke")))
        await api.store.save(failed, drafts)
        again = await http.post(f"/api/v1/sessions?wait={wait}")
    assert again.status_code == status
    if status == 200:
        assert (again.json()["id"], again.json()["status"]) == (made.json()["id"], "failed")


async def test_a_replay_is_answered_though_no_session_could_start_now(
    api: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> str:
        raise DependencyError("docker", "away")

    async with api.client() as http:
        made = await http.post("/api/v1/sessions", headers={"Idempotency-Key": "k"})
        monkeypatch.setattr(api.engine, "recipe", away)
        assert (await http.post("/api/v1/sessions", headers={"Idempotency-Key": "new"})).status_code == 503
        again = await http.post("/api/v1/sessions", headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_head_answers_as_get_does_without_a_body(api: World) -> None:
    async with api.client() as http, api.client("") as stranger:
        session_id = (await http.post("/api/v1/sessions")).json()["id"]
        listed = "/api/v1/sessions"
        paths = [listed, f"{listed}/{session_id}", f"{listed}/{UNKNOWN}", "/health", "/metrics"]
        for path in paths:
            head, get = await http.head(path), await http.get(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-type"] == get.headers["content-type"]
        assert (await http.head("/api/v1/sessions")).headers["x-total-count"] == "1"
        assert (await stranger.head("/api/v1/sessions")).status_code == 401
        stream = await http.head(f"/api/v1/sessions/{session_id}/stream")
        assert (stream.status_code, stream.content) == (200, b"")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (await stranger.head(f"/api/v1/sessions/{session_id}/stream")).status_code == 401
        assert (await http.head(f"/api/v1/sessions/{UNKNOWN}/stream")).status_code == 404
        put = await http.put("/api/v1/sessions/stats")
        assert (put.status_code, put.json()["code"]) == (405, "method_not_allowed")


async def test_too_many_at_once_are_refused_clearly(api: World) -> None:
    async with api.client() as http:
        answers = await asyncio.gather(*(http.post("/api/v1/sessions") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 7
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "capacity"
    assert refused.json()["retryable"]
    assert int(refused.headers["retry-after"]) >= 1


async def test_the_list_pages_and_filters(api: World) -> None:
    async with world(most_live=30) as many, many.client() as http:
        for number in range(7):
            body = {"user_id": f"u{number % 2}", "metadata": {"n": str(number)}}
            await http.post("/api/v1/sessions", json=body, params={"wait": "0"})
        seen: list[str] = []
        url = "/api/v1/sessions?limit=3"
        while url:
            page = await http.get(url)
            assert isinstance(page.json(), list)
            assert page.headers["x-total-count"] == "7"
            seen += [each["metadata"]["n"] for each in page.json()]
            url = page.links.get("next", {}).get("url", "").removeprefix(PUBLIC_URL)
        assert seen == ["6", "5", "4", "3", "2", "1", "0"]
        only = await http.get("/api/v1/sessions", params={"user_id": "u1", "metadata.n": "3"})
        assert [each["metadata"]["n"] for each in only.json()] == ["3"]
        ended = await http.get("/api/v1/sessions", params={"status": "terminated"})
        assert (ended.json(), ended.headers["x-total-count"]) == ([], "0")


@pytest.mark.parametrize("query", ["status=sleepy", "limit=0", "limit=1001", "limit=x", "cursor=x", "metadata.=1"])
async def test_a_bad_list_is_refused_by_name(api: World, query: str) -> None:
    async with api.client() as http:
        answer = await http.get(f"/api/v1/sessions?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(query.split("=", maxsplit=1)[0].rstrip("."))


async def test_stats_are_not_taken_for_a_session(api: World) -> None:
    async with api.client() as http:
        await http.post("/api/v1/sessions")
        for mount in ("/api/v1/sessions", "/api/v1/session", "/api/sessions"):
            stats = (await http.get(f"{mount}/stats")).json()
            assert stats["by_status"]["waiting_input"] == 1
            assert stats["slots"] == {"used": 1, "total": 3}
            assert set(stats["lags"]) == {"outbox_s", "event_log_s", "webhooks_s"}
        assert 'jelmore_lag_seconds{what="outbox"}' in (await http.get("/metrics")).text


async def test_change(api: World) -> None:
    async with api.client() as http:
        url = (await http.post("/api/v1/sessions")).headers["location"]
        changed = await http.patch(
            url, json={"title": "t", "metadata": {"a": 1}, "timeout_minutes": 0, "archived": True}
        )
        assert changed.status_code == 200, changed.text
        body = changed.json()
        assert (body["title"], body["metadata"], body["archived"]) == ("t", {"a": 1}, True)
        assert body["timing"]["timeout_minutes"] == 0
        assert (await http.patch(url, json={"status": "idle"})).status_code == 422
        rest = (await http.patch(url, json={"idle_after_s": 3600, "hibernate_after_s": 0})).json()["timing"]
        assert (rest["idle_after_s"], rest["hibernate_after_s"], rest["timeout_minutes"]) == (3600, 0, 0)
        for name in ("idle_after_s", "hibernate_after_s"):
            refused = await http.patch(url, json={name: -1})
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, name)


async def test_the_list_leaves_archived_sessions_out_unless_asked_for(api: World) -> None:
    async with api.client() as http:
        urls = [(await http.post("/api/v1/sessions")).headers["location"] for _ in range(3)]
        for url in urls[:2]:
            await http.patch(url, json={"archived": True})
        ids = [url.rpartition("/")[2] for url in urls]

        async def listed(query: str) -> tuple[list[str], str]:
            answer = await http.get(f"/api/v1/sessions{query}")
            return [each["id"] for each in answer.json()], answer.headers["x-total-count"]

        assert await listed("") == await listed("?archived=false") == ([ids[2]], "1")
        assert await listed("?archived=true") == ([ids[1], ids[0]], "2")
        assert await listed("?archived=all") == (ids[::-1], "3")
        first = await http.get("/api/v1/sessions?archived=true&limit=1")
        then = await http.get(first.links["next"]["url"].removeprefix(PUBLIC_URL))
        assert [each["id"] for each in then.json()] == [ids[0]]
        assert (await http.get("/api/v1/sessions?archived=maybe")).status_code == 422
        await http.patch(urls[0], json={"archived": False})
        assert await listed("") == ([ids[2], ids[0]], "2")


async def test_an_ended_session_is_resumed(api: World) -> None:
    async with api.client() as http:
        url = (await http.post("/api/v1/sessions")).headers["location"]
        assert (await http.post(f"{url}/resume")).status_code == 409
        await http.delete(url)
        resumed = await http.post(f"{url}/resume")
        assert resumed.status_code == 200, resumed.text
        assert (resumed.json()["status"], resumed.json()["generation"]) == ("waiting_input", 2)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/sessions", "GET, POST, HEAD, OPTIONS"),
        ("/api/v1/session/{id}", "GET, PATCH, DELETE, HEAD, OPTIONS"),
        ("/api/v1/sessions/{id}/stream", "GET, HEAD, OPTIONS"),
        ("/api/v1/sessions/{id}/input", "POST, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_names_the_methods_of_a_path(api: World, path: str, allowed: str) -> None:
    async with api.client("") as http:
        answer = await http.options(path.format(id=UNKNOWN))
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
        assert (await http.options("/nothing")).status_code == 404
        assert answer.headers["x-request-id"]


async def test_a_restart_is_a_new_container(api: World) -> None:
    async with api.client() as http:
        made = await http.post("/api/v1/sessions")
        restarted = await http.post(f"{made.headers['location']}/restart")
    assert restarted.status_code == 200, restarted.text
    assert restarted.json()["container_id"] != made.json()["container_id"]


async def test_a_failed_start_says_why(api: World) -> None:
    api.engine.ready_at_once = False
    async with api.client() as http:
        making = asyncio.create_task(http.post("/api/v1/sessions"), name="making")
        await until(lambda: bool(api.store.sessions))
        session_id = str(next(iter(api.store.sessions)))
        runner = await api.runner(session_id)
        await until(lambda: runner.init is not None)
        api.engine.die(UUID(session_id), 3)
        answer = await making
        assert (answer.status_code, answer.json()["code"]) == (503, "start_failed"), answer.text
        assert answer.json()["failure"]["exit_code"] == 3
        assert session_id in answer.json()["detail"]
        shown = (await http.get(f"/api/v1/sessions/{session_id}")).json()
        assert (shown["status"], shown["health"]["status"]) == ("failed", "failed")
        assert shown["failure"] == answer.json()["failure"]
        assert shown["terminated_at"] is not None
