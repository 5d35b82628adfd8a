"""Usage and budgets over the API: sums, and sessions that wait for a budget and continue."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from jelmore.ports import Role
from jelmore.session.record import Session
from jelmore.session.states import Presence
from jelmore.session.states import WaitingFor as Waiting
from jelmore_protocol.events import AgentState, EventKind, WaitingFor
from tests.fakes.runners import FakeRunner
from tests.integration.api.world import World
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SESSIONS, BUDGETS, USAGE = "/api/v1/sessions", "/api/v1/budgets", "/api/v1/usage"


async def turn(api: World, session_id: str, cost_usd: float, *, held: bool = False) -> FakeRunner:
    """Let a turn end that cost so much; with `held`, the runner's inputs wait from then on."""
    runner = await api.runner(session_id)
    models = {"opus": {"input_tokens": 10, "output_tokens": 1, "cost_usd": cost_usd}}
    await runner.say(
        EventKind.TURN_ENDED, {"input_id": None, "outcome": "completed", "models": models, "cost_usd": cost_usd}
    )
    await runner.become(AgentState.WAITING_INPUT, WaitingFor.BUDGET if held else WaitingFor.PROMPT)
    await api.stored(session_id, runner.seq)
    return runner


async def made(http: httpx.AsyncClient, **body: Any) -> str:
    answer = await http.post(SESSIONS, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def record(api: World, session_id: str) -> Session:
    return await api.store.load(UUID(session_id))


async def test_usage_is_summed_and_a_client_sees_its_own(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http, api.client(api.other_key) as other, api.client() as admin:
        mine, theirs = await made(http, user_id="ann"), await made(other)
        await turn(api, mine, 0.5)
        await turn(api, mine, 0.25)
        await turn(api, theirs, 1.0)
        today = datetime.now(UTC).date().isoformat()
        by_day = (await http.get(USAGE)).json()
        assert by_day["total"] == {
            "turns": 2, "input_tokens": 20, "output_tokens": 2, "cache_read_tokens": 0, "cache_write_tokens": 0,
            "cost_usd": 0.75,
        }  # fmt: skip
        assert [(item["name"], item["cost_usd"]) for item in by_day["items"]] == [(today, 0.75)]
        by_session = (await admin.get(f"{USAGE}?by=session&from={today}&to={today}")).json()
        assert [(item["name"], item["cost_usd"]) for item in by_session["items"]] == [(theirs, 1.0), (mine, 0.75)]
        by_user = (await admin.get(f"{USAGE}?by=user&limit=1")).json()
        assert [(item["name"], item["cost_usd"]) for item in by_user["items"]] == [("", 1.0)]
        shown = (await http.get(f"{SESSIONS}/{mine}")).json()
        assert (shown["usage"]["turns"], shown["usage"]["cost_usd"], shown["usage"]["input_tokens"]) == (2, 0.75, 20)
        for query in ("by=colour", "from=2026", "from=2026-02-01&to=2026-01-01", "limit=0"):
            assert (await http.get(f"{USAGE}?{query}")).status_code == 422, query
        metrics = (await admin.get("/metrics")).text
        assert 'jelmore_cost_usd_total{model="opus"} 1.75' in metrics
        assert 'jelmore_tokens_total{kind="input",model="opus"} 30.0' in metrics
        assert "jelmore_sessions_waiting_for_budget 0.0" in metrics


async def test_a_session_waits_for_its_budget_until_it_is_raised(api: World) -> None:
    async with api.client() as http:
        session_id = await made(http, budget_usd=0.5)
        runner = await turn(api, session_id, 0.25)
        assert runner.init is not None
        assert (runner.init.pause_at_usd, runner.init.requires) == (0.5, ["budget"])
        await until(lambda: runner.pause_at == [0.5])
        await turn(api, session_id, 0.5, held=True)
        shown = (await http.get(f"{SESSIONS}/{session_id}")).json()
        assert (shown["status"], shown["waiting_for"], shown["budget_usd"]) == ("waiting_input", "budget", 0.5)
        events = (await http.get(f"{SESSIONS}/{session_id}/events?type=session.budget_reached")).json()
        assert [event["payload"] for event in events] == [{"spent_usd": 0.75}]
        assert (await http.get(f"{SESSIONS}?waiting_for=budget")).json()[0]["id"] == session_id
        assert (await http.patch(f"{SESSIONS}/{session_id}", json={"budget_usd": 2})).json()["budget_usd"] == 2
        await until(lambda: runner.pause_at[-1] == 2.0)
        for bad in (0, -1, "1", 1e9):
            assert (await http.patch(f"{SESSIONS}/{session_id}", json={"budget_usd": bad})).status_code == 422, bad


async def test_a_used_up_budget_of_a_user_stops_all_its_sessions(api: World) -> None:
    async with api.client() as http:
        one, two = await made(http, user_id="ann"), await made(http, user_id="ann")
        stranger = await made(http, user_id="bob")
        runners = [await api.runner(session_id) for session_id in (one, two, stranger)]
        budget = {"scope": "user", "subject": "ann", "period": "day", "limit_usd": 1}
        assert (await http.put(BUDGETS, json=budget)).json()["spent_usd"] == 0
        await until(lambda: [runner.pause_at for runner in runners] == [[1.0], [1.0], []])
        await turn(api, one, 0.75, held=False)
        await until(lambda: runners[0].pause_at[-1] == 1.0)
        await turn(api, one, 0.5, held=True)
        await turn(api, two, 0.0)  # a turn that cost nothing; the next one must not begin
        await until(lambda: runners[1].pause_at[-1] == 0.0)
        assert runners[2].pause_at == []
        assert (await http.get(BUDGETS)).json()[0]["spent_usd"] == 1.25
        await http.put(BUDGETS, json={**budget, "limit_usd": 5})
        await until(lambda: [runner.pause_at[-1] for runner in runners[:2]] == [5.0, 3.75])
        gone = await http.delete(f"{BUDGETS}?scope=user&subject=ann&period=day")
        assert (gone.status_code, (await http.get(BUDGETS)).json()) == (204, [])
        await until(lambda: runners[0].pause_at[-1] is None)


async def test_the_turns_of_a_session_are_listed_for_who_sees_it(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http, api.client(api.other_key) as other:
        session_id = await made(http)
        first = (await turn(api, session_id, 0.5)).seq
        await turn(api, session_id, 0.25)
        await turn(api, await made(http), 4.0)
        asked = f"{USAGE}?by=turn&session_id={session_id}"
        shown = (await http.get(asked)).json()
        assert [item["cost_usd"] for item in shown["items"]] == [0.25, 0.5]
        assert int(shown["items"][1]["name"]) < first, "the state follows the end of the turn"
        assert (shown["by"], shown["total"]["turns"], shown["total"]["cost_usd"]) == ("turn", 2, 0.75)
        assert (await http.get(f"{USAGE}?by=model&session_id={session_id}")).json()["total"]["cost_usd"] == 0.75
        assert (await http.get(f"{asked}&to=2020-01-01")).json()["items"] == []
        assert (await other.get(asked)).status_code == 404
        missing = await http.get(f"{USAGE}?by=turn")
        assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "session_id")
        assert (await http.get(f"{USAGE}?by=turn&session_id=x")).json()["errors"][0]["field"] == "session_id"


async def test_the_budget_of_one_session_is_set_with_the_session(api: World) -> None:
    async with api.client() as http:
        body = {"scope": "session", "subject": await made(http), "period": "total", "limit_usd": 1}
        for answer in (
            await http.put(BUDGETS, json=body),
            await http.delete(BUDGETS, params={"scope": "session", "subject": "x", "period": "day"}),
        ):
            error = answer.json()["errors"][0]
            assert (answer.status_code, error["field"]) == (422, "scope"), answer.text
            assert "budget_usd" in error["message"]
            assert "PATCH /api/v1/sessions/" in error["message"]


async def test_a_sleeping_session_wakes_when_its_budget_is_raised(api: World) -> None:
    async with api.client() as http:
        session_id = await made(http, budget_usd=0.5, idle_after_s=1e-3)
        await turn(api, session_id, 1.0, held=True)
        await until(lambda: _is_paused(api, session_id))
        await api.budgets.apply(UUID(session_id))
        assert (await record(api, session_id)).presence is Presence.PAUSED, "the budget is still used up"
        await http.patch(f"{SESSIONS}/{session_id}", json={"budget_usd": 5, "idle_after_s": 0})
        await until(lambda: _is_awake(api, session_id))
        assert (await record(api, session_id)).waiting_for is Waiting.BUDGET
        await api.budgets.sweep()
        runner = await api.runner(session_id)
        await until(lambda: runner.pause_at[-1:] == [5.0])


async def _is_paused(api: World, session_id: str) -> bool:
    return (await record(api, session_id)).presence is Presence.PAUSED


async def _is_awake(api: World, session_id: str) -> bool:
    return (await record(api, session_id)).presence is Presence.AWAKE


async def test_only_admins_set_budgets_and_clients_see_those_of_their_key(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as client, api.client() as admin:
        await made(client)
        key = (await client.get(SESSIONS)).json()[0]["owner"]
        budget = {"scope": "key", "subject": key, "period": "total", "limit_usd": 3}
        assert (await client.put(BUDGETS, json=budget)).status_code == 403
        assert (await client.delete(f"{BUDGETS}?scope=key&subject={key}&period=total")).status_code == 403
        await admin.put(BUDGETS, json=budget)
        await admin.put(BUDGETS, json={**budget, "subject": "another"})
        assert [each["subject"] for each in (await client.get(BUDGETS)).json()] == [key]
        assert len((await admin.get(BUDGETS)).json()) == 2
        for change in ({"scope": "team"}, {"period": "year"}, {"limit_usd": -1}, {"subject": ""}, {"more": 1}):
            assert (await admin.put(BUDGETS, json={**budget, **change})).status_code == 422, change
