"""The calls around a conversation: mounts, lists, counts, operations, pages."""

import pytest

from tests.support.stack_client import SESSIONS, Api

MOUNTS = (SESSIONS, "/api/v1/session", "/api/sessions")


@pytest.mark.parametrize(
    ("mount", "created_status", "ended_status", "timeout_minutes"),
    [(MOUNTS[0], 201, 409, 30), (MOUNTS[1], 200, 400, 30), (MOUNTS[2], 201, 409, 60)],
)
async def test_each_mount_creates_talks_and_ends(
    quick_api: Api, mount: str, created_status: int, ended_status: int, timeout_minutes: int
) -> None:
    http = quick_api.http
    answer = await http.post(mount)
    assert answer.status_code == created_status, answer.text
    created = answer.json()
    session_id = created["id"]
    assert created["session_id"] == session_id
    assert answer.headers["location"] == f"{mount}/{session_id}"
    assert created["timing"]["timeout_minutes"] == timeout_minutes
    assert (created["status"], created["waiting_for"]) == ("waiting_input", "prompt")

    response = await http.post(f"{mount}/{session_id}/input?wait=30", json={"input": "hello there"})
    assert (response.status_code, response.json()["result"]["is_error"]) == (200, False)
    assert "hello there" in response.json()["result"]["result"]
    assert (await http.get(f"{mount}/{session_id}")).json()["usage"]["turns"] == 1
    ended = await http.delete(f"{mount}/{session_id}")
    assert (ended.status_code, ended.json()["status"]) == (200, "terminated")
    late = await http.post(f"{mount}/{session_id}/input", json={"input": "hello?"})
    assert (late.status_code, late.json()["code"]) == (ended_status, "session_ended")


async def test_list_and_stats_show_what_is_there(quick_api: Api) -> None:
    before = (await quick_api.http.get(f"{SESSIONS}/stats")).json()
    assert before["slots"] == {"used": 0, "total": 3}
    mine = [await quick_api.create(user_id="list-test", metadata={"n": str(number)}) for number in range(2)]
    stats = (await quick_api.http.get(f"{SESSIONS}/stats")).json()
    assert stats["slots"] == {"used": 2, "total": 3}
    assert stats["total"] == before["total"] + 2
    assert stats["by_status"]["waiting_input"] == 2

    ids = [created["id"] for created in mine]
    query = {"user_id": "list-test", "status": "waiting_input"}
    listed = await quick_api.http.get(SESSIONS, params=query)
    assert [each["id"] for each in listed.json()] == ids[::-1]
    assert listed.headers["x-total-count"] == "2"
    assert all("token" not in each for each in listed.json())
    first = await quick_api.http.get(SESSIONS, params={**query, "limit": 1})
    assert first.headers["x-total-count"] == "2"
    following = first.headers["link"].partition(">")[0].removeprefix("<")
    assert [each["id"] for each in (await quick_api.http.get(following)).json()] == ids[:1]
    one = await quick_api.http.get(SESSIONS, params={"metadata.n": "1", "user_id": "list-test"})
    assert [each["id"] for each in one.json()] == ids[1:]


async def test_a_dry_sweep_removes_nothing(quick_api: Api) -> None:
    created = await quick_api.create()
    for path in ("/api/cleanup", "/api/v1/cleanup"):
        answer = await quick_api.http.post(path, params={"dry_run": "1"})
        report = answer.json()
        assert (answer.status_code, report["dry_run"], report["removed"]) == (200, True, {})
        assert created["id"] not in str([each for each in report["entries"] if each["action"] == "removed"])
    assert (await quick_api.get(created["id"]))["status"] == "waiting_input"
    real = (await quick_api.http.post("/api/cleanup")).json()
    assert created["id"] not in str(real["entries"])
    assert await quick_api.ask(created["id"], "demo> say still here")


async def test_health_reports_every_part(quick_api: Api) -> None:
    for path in ("/health", "/api/health"):
        assert (await quick_api.http.get(path, headers={"X-API-Key": ""})).json() == {"status": "ok"}
        report = (await quick_api.http.get(path)).json()
        assert report["status"] == "ok", report
        assert set(report["checks"]) == {
            "postgres",
            "redis",
            "nats",
            "caddy",
            "gateway",
            "sandboxes",
            "disk",
            "run_directory",
            "pool",
        }
        assert all(check["status"] == "ok" for check in report["checks"].values())
        assert all(loop.get("running", True) for loop in report["loops"].values()), report["loops"]
    for path in ("/livez", "/readyz"):
        assert (await quick_api.http.get(path, headers={"X-API-Key": ""})).status_code == 200


async def test_the_pages_need_no_other_host(quick_api: Api) -> None:
    for path in ("/api/v1/docs", "/api/v1/redoc"):
        page = await quick_api.http.get(path, headers={"X-API-Key": ""})
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        sources = [word.partition('"')[0] for word in page.text.replace('src="', 'href="').split('href="')[1:]]
        assert sources
        for source in sources:
            assert source.startswith("/"), f"{path} wants {source}"
            asset = await quick_api.http.get(source, headers={"X-API-Key": ""})
            assert (asset.status_code, bool(asset.content)) == (200, True), source


async def test_the_description_names_the_calls(quick_api: Api) -> None:
    served = await quick_api.http.get("/openapi.json", headers={"X-API-Key": ""})
    assert served.status_code == 200
    calls = {"", "/stats", "/{session_id}", "/{session_id}/input", "/{session_id}/stream", "/{session_id}/permissions"}
    assert {f"{SESSIONS}{call}" for call in calls} <= set(served.json()["paths"])
