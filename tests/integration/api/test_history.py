"""Finding sessions again (search, tags, pins, times, orders), and erasing them."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from jelmore.ports import Role
from jelmore.session.errors import DependencyError
from jelmore_protocol.events import EventKind
from tests.integration.api.world import PUBLIC_URL, World
from tests.support.records import new_id

pytestmark = pytest.mark.integration

SESSIONS = "/api/v1/sessions"


async def test_sessions_are_found_by_words_tags_and_pins(api: World) -> None:
    async with api.client() as http:
        made = [
            (await http.post(SESSIONS, json=body)).json()["id"]
            for body in ({"title": "Upgrade the parser", "tags": ["red", "blue", "red"]}, {"tags": ["red"]}, {})
        ]
        await http.post(f"{SESSIONS}/{made[1]}/input", json={"input": "mend the failing migration"})
        pinned = (await http.patch(f"{SESSIONS}/{made[2]}", json={"pinned": True, "tags": ["a b"]})).json()
        assert (pinned["pinned"], pinned["tags"]) == (True, ["a b"])

        async def found(query: str) -> list[str]:
            answer = await http.get(f"{SESSIONS}?{query}")
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-total-count"] == str(len(answer.json()))
            return [each["id"] for each in answer.json()]

        assert await found("q=parser") == [made[0]]
        assert await found("q=failing+migration") == [made[1]]
        assert await found("q=+") == await found("sort=-created") == made[::-1]
        assert await found("sort=created") == made
        assert await found("tag=red") == [made[1], made[0]]
        assert await found("tag=red&tag=blue") == [made[0]]
        assert await found("pinned=true") == [made[2]]
        assert await found("waiting_for=permission") == []
        assert await found("created_after=2020-01-01T00:00:00Z&created_before=2020-01-02T00:00:00%2B01:00") == []
        assert await found("created_after=2020-01-01T00:00:00Z&pinned=false") == [made[1], made[0]]


async def test_every_order_has_pages_and_a_cursor_of_its_own(api: World) -> None:
    async with api.client() as http:
        made = [(await http.post(SESSIONS, json={"tags": ["t"]})).json()["id"] for _ in range(3)]
        for sort, expected in (("last_activity", made), ("-last_activity", made[::-1]), ("created", made)):
            path, found = f"{SESSIONS}?sort={sort}&limit=1&tag=t", []
            for _ in made:
                answer = await http.get(path)
                found += [each["id"] for each in answer.json()]
                path = answer.links["next"]["url"].removeprefix(PUBLIC_URL)
            assert found == expected, sort
            other = "created" if "activity" in sort else "last_activity"
            refused = await http.get(path.replace(f"sort={sort}", f"sort={other}"))
            assert (refused.status_code, "cursor" in refused.text) == (422, True)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("q=" + "x" * 257, "q"),
        ("created_after=2026", "created_after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),
        ("created_before=2026-01-01T00:00:00+01:00", "created_before"),
        ("tag=" + "x" * 65, "tag"),
        ("pinned=perhaps", "pinned"),
        ("sort=title", "sort"),
        ("waiting_for=rain", "waiting_for"),
        ("colour=red", "colour"),
    ],
)
async def test_a_bad_filter_is_refused_by_name(api: World, query: str, name: str) -> None:
    async with api.client() as http:
        answer = await http.get(f"{SESSIONS}?{query}")
        assert answer.status_code == 422
        assert name in answer.text


@pytest.mark.parametrize("tags", [[""], [" a"], ["a\n"], ["x" * 65], ["a"] * 21, "a", [1], ["\x00"]])
async def test_bad_tags_are_refused(api: World, tags: Any) -> None:
    async with api.client() as http:
        answer = await http.post(SESSIONS, json={"tags": tags})
        assert answer.status_code == 422, answer.text
        assert "tags" in answer.text


async def test_a_session_is_erased_once_it_has_ended_and_the_answer_stays(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http, api.client(api.other_key) as stranger:
        session_id = (await http.post(SESSIONS, json={"query": "hello"})).json()["id"]
        url = f"{SESSIONS}/{session_id}"
        refused = await http.post(f"{url}/erase")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "end=true" in refused.json()["detail"]
        assert (await stranger.post(f"{url}/erase?end=true")).status_code == 404
        proof = await http.post(f"{url}/erase?end=true")
        assert proof.status_code == 200, proof.text
        body = proof.json()
        assert (body["session_id"], body["found"]["workspace"]) == (session_id, 1)
        assert set(body["remaining"].values()) == {0}
        assert body["found"].keys() == body["remaining"].keys()
        for method, path in (("GET", url), ("GET", f"{url}/output"), ("POST", f"{url}/resume"), ("DELETE", url)):
            assert (await http.request(method, path)).status_code == 404, path
        assert (await http.get(SESSIONS)).json() == []
        assert (await http.post(f"{url}/erase")).json() == body
        assert (await stranger.post(f"{url}/erase")).status_code == 404
    async with api.client(api.keys[Role.READONLY]) as reader:
        assert (await reader.post(f"{url}/erase")).status_code == 403
    async with api.client() as admin:
        erased = (await admin.get("/api/v1/events?type=system.session_erased")).json()["events"]
        assert [each["payload"]["session_id"] for each in erased] == [session_id]


async def test_a_transcript_is_a_file_of_all_that_was_said(api: World) -> None:
    async with api.client() as http:
        made = (await http.post(SESSIONS, json={"title": "A <talk>"})).json()
        url = f"{SESSIONS}/{made['id']}/transcript"
        runner = await api.runner(made["id"])
        for number in range(1100):
            await runner.say(EventKind.SAID, {"text": f"answer {number} <b>", "thinking": False})
        await api.stored(made["id"], runner.seq)
        answers = {form: await http.get(f"{url}?format={form}") for form in ("markdown", "json", "html")}
        for form, answer in answers.items():
            assert answer.status_code == 200, answer.text
            assert f"session-{made['id']}." in answer.headers["content-disposition"]
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["content-type"].split(";")[0].endswith(form)
        assert (await http.get(url)).text == answers["markdown"].text
        messages = answers["json"].json()["messages"]
        assert [each["text"] for each in messages] == [f"answer {number} <b>" for number in range(1100)]
        assert "answer 1099 &lt;b&gt;" in answers["html"].text
        assert "answer 0 <b>" in answers["markdown"].text
        assert (await http.get(f"{url}?format=pdf")).status_code == 422
        assert (await http.get(f"{SESSIONS}/{new_id()}/transcript")).status_code == 404
        read = {"Authorization": f"Bearer {made['token']}"}
        async with api.client("", **read) as by_token:
            assert (await by_token.get(url)).text == answers["markdown"].text


async def test_a_transcript_that_breaks_off_is_no_success(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api.client() as http:
        made = (await http.post(SESSIONS)).json()
        runner, url = await api.runner(made["id"]), f"{SESSIONS}/{made['id']}/transcript"
        for number in range(520):  # more than a page
            await runner.say(EventKind.SAID, {"text": f"{number}", "thinking": False})
        await api.stored(made["id"], runner.seq)
        read = api.store.output

        async def read_once(session_id: UUID, after: int, *more: Any, **named: Any) -> Any:
            if after:
                raise DependencyError("postgres", "away")
            return await read(session_id, after, *more, **named)

        monkeypatch.setattr(api.store, "output", read_once)
        with pytest.raises(httpx.TransportError):
            await http.get(url)
        api.store.away = True
        assert (await http.get(url)).status_code == 503
