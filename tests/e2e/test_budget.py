"""A budget in the whole system: inputs wait when it is used up, and continue when it is raised."""

from tests.support.stack_client import Api

USAGE = "/api/v1/usage"


async def test_a_budget_pauses_a_session_and_a_higher_one_resumes_it(api: Api) -> None:
    created = await api.create("demo> say one", budget_usd=0.005)  # a turn costs about 0.01
    session_id = created["id"]
    waiting = await api.until(session_id, status="waiting_input", waiting_for="budget")
    assert waiting["usage"]["turns"] == 1
    accepted = await api.post(session_id, "/input", {"input": "demo> say two"})
    assert accepted.status_code == 202, accepted.text
    assert (await api.get(session_id))["usage"]["turns"] == 1
    raised = await api.http.patch(f"/api/v1/sessions/{session_id}", json={"budget_usd": 1})
    assert raised.status_code == 200, raised.text
    done = await api.until(session_id, status="waiting_input", waiting_for="prompt")
    assert done["usage"]["turns"] == 2
    spent = (await api.http.get(f"{USAGE}?by=session")).json()
    mine = [item for item in spent["items"] if item["name"] == session_id]
    assert [(item["turns"], round(item["cost_usd"], 6)) for item in mine] == [(2, round(done["usage"]["cost_usd"], 6))]
