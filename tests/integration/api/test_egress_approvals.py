"""Connections that wait for a person: shown where permissions are, answered once, and resolved whatever restarts."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from jelmore.ports import Role
from jelmore_protocol.events import EventKind
from jelmore_protocol.gateway import EgressDecision, HeldCause
from tests.fakes.runners import FakeRunner
from tests.integration.api.world import World
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SESSIONS = "/api/v1/sessions"


@pytest.fixture
async def client(api: World) -> AsyncIterator[httpx.AsyncClient]:
    api.tasks.keep("egress-approvals", api.approvals.run)
    async with api.client() as client:
        yield client


async def asking(api: World, client: httpx.AsyncClient) -> tuple[str, str, FakeRunner]:
    """Return a session that waits for a person because of a connection, the request and the runner."""
    session_id = (await client.post(SESSIONS)).json()["id"]
    runner = await api.runner(session_id)
    await until(lambda: runner.init is not None)
    request_id = api.gateway.hold(session_id)
    await waits(client, session_id, "egress")
    return session_id, request_id, runner


async def waits(client: httpx.AsyncClient, session_id: str, wanted: str | None) -> dict[str, Any]:
    """Return the session once it waits for this."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        found.update((await client.get(f"{SESSIONS}/{session_id}")).json())
        return bool(found["waiting_for"] == wanted)

    await until(there)
    return found


def resolutions(runner: FakeRunner) -> list[dict[str, Any]]:
    return [each.data for each in runner.journal if each.kind == EventKind.PERMISSION_RESOLVED]


async def answer(client: httpx.AsyncClient, session_id: str, request_id: str, **body: Any) -> httpx.Response:
    return await client.post(f"{SESSIONS}/{session_id}/permissions/{request_id}", json=body)


async def test_it_is_shown_and_answered_as_other_requests(api: World, client: httpx.AsyncClient) -> None:
    session_id, request_id, runner = await asking(api, client)
    shown = (await client.get(f"{SESSIONS}/{session_id}")).json()
    assert (shown["status"], shown["pending_url"] is None) == ("waiting_input", False)
    (pending,) = (await client.get(f"{SESSIONS}/{session_id}/permissions")).json()["pending"]
    assert (pending["request_id"], pending["waiting_for"]) == (request_id, "egress")
    assert pending["input"] == {"host": "own.example", "port": 443, "method": "CONNECT"}
    found = (await client.get(SESSIONS, params={"waiting_for": "egress"})).json()
    assert [each["id"] for each in found] == [session_id]
    allowed = await answer(client, session_id, request_id, decision="allow")
    assert allowed.status_code == 200, allowed.text
    assert (await client.get(f"{SESSIONS}/{session_id}/permissions")).json()["pending"] == []
    assert [(each["decision"], each["by"]) for each in resolutions(runner)] == [("allow", allowed.json()["by"])]
    assert (await client.get(f"{SESSIONS}/{session_id}")).json()["network"]["approved"] == []
    second = await answer(client, session_id, request_id, decision="deny")
    assert second.status_code in {404, 409}, second.text
    assert api.gateway.holding == {}


async def test_allowed_for_the_session_is_in_its_network_and_can_be_taken_back(
    api: World, client: httpx.AsyncClient
) -> None:
    session_id, request_id, _ = await asking(api, client)
    allowed = await answer(client, session_id, request_id, decision="allow", remember="session")
    assert allowed.status_code == 200, allowed.text
    shown = (await client.get(f"{SESSIONS}/{session_id}")).json()
    assert shown["network"]["approved"] == ["own.example:443"]
    await api.gateway_keeper.once()
    (entry,) = api.gateway.sandboxes.values()
    assert entry.network.approved == ("own.example:443",)
    back = await client.patch(f"{SESSIONS}/{session_id}", json={"network": {"mode": "none"}})
    assert back.json()["network"]["approved"] == []


async def test_denied_with_a_reason(api: World, client: httpx.AsyncClient) -> None:
    session_id, request_id, runner = await asking(api, client)
    denied = await answer(client, session_id, request_id, decision="deny", message="not there", interrupt=True)
    assert denied.status_code == 200, denied.text
    assert [(each["decision"], each["message"]) for each in resolutions(runner)] == [("deny", "not there")]
    assert runner.interrupts == 1


@pytest.mark.parametrize(
    "field", [{"answers": {"a": "b"}}, {"updated_input": {"host": "other.example"}}, {"updated_permissions": []}]
)
async def test_what_does_not_fit_is_refused_by_name(
    api: World, client: httpx.AsyncClient, field: dict[str, Any]
) -> None:
    session_id, request_id, _ = await asking(api, client)
    refused = await answer(client, session_id, request_id, decision="allow", **field)
    assert refused.status_code == 422
    assert next(iter(field)) in refused.text
    assert api.gateway.holding[request_id].cause is None


async def test_only_who_sees_the_session_answers_and_only_its_own_requests(
    api: World, client: httpx.AsyncClient
) -> None:
    session_id, request_id, _ = await asking(api, client)
    other = (await client.post(SESSIONS)).json()["id"]
    assert (await answer(client, other, request_id, decision="allow")).status_code == 404
    async with api.client(api.other_key) as stranger, api.client(api.keys[Role.READONLY]) as reader:
        assert (await answer(stranger, session_id, request_id, decision="allow")).status_code == 404
        assert (await answer(reader, session_id, request_id, decision="allow")).status_code == 403
    assert api.gateway.holding[request_id].cause is None


@pytest.mark.parametrize(
    ("cause", "decision", "said"), [(HeldCause.EXPIRED, "deny", "expired"), (HeldCause.WITHDRAWN, "cancelled", "")]
)
async def test_what_waits_no_longer_is_resolved(
    api: World, client: httpx.AsyncClient, cause: HeldCause, decision: str, said: str
) -> None:
    session_id, request_id, runner = await asking(api, client)
    api.gateway.end(request_id, cause)
    await waits(client, session_id, None)
    assert [(each["decision"], each["cause"]) for each in resolutions(runner)] == [(decision, said)]
    assert (await client.get(f"{SESSIONS}/{session_id}")).json()["unanswered"] == []
    await until(lambda: api.gateway.holding == {})


async def test_a_gateway_that_was_restarted_holds_nothing_so_the_request_is_resolved(
    api: World, client: httpx.AsyncClient
) -> None:
    session_id, _, runner = await asking(api, client)
    api.gateway.holding.clear()
    api.gateway.run = "run-2"
    await waits(client, session_id, None)
    assert [(each["decision"], each["cause"]) for each in resolutions(runner)] == [("cancelled", "gateway_restarted")]


async def test_a_decision_that_a_manager_did_not_carry_out_is_carried_out_by_the_next(
    api: World, client: httpx.AsyncClient
) -> None:
    session_id, request_id, runner = await asking(api, client)
    decision = EgressDecision(session_id=session_id, decision="allow", remember=True, by="key_of_a_dead_manager")
    await api.gateway.decide(request_id, decision)
    await waits(client, session_id, None)
    assert [(each["decision"], each["by"]) for each in resolutions(runner)] == [("allow", "key_of_a_dead_manager")]
    shown = (await client.get(f"{SESSIONS}/{session_id}")).json()
    assert shown["network"]["approved"] == ["own.example:443"]


async def test_a_sandbox_of_an_earlier_image_is_refused_with_the_reason(api: World, client: httpx.AsyncClient) -> None:
    session_id = (await client.post(SESSIONS)).json()["id"]
    runner = await api.runner(session_id)
    runner.too_old_to_ask = True
    decided: list[str] = []
    decide = api.gateway.decide

    async def noted(request_id: str, decision: EgressDecision) -> Any:
        decided.append(decision.message)
        return await decide(request_id, decision)

    api.gateway.decide = noted  # type: ignore[method-assign]
    api.gateway.hold(session_id)
    await until(lambda: api.gateway.holding == {})
    assert "earlier version" in decided[0]
    assert runner.pending == {}


async def test_a_request_of_a_session_that_is_gone_is_forgotten(api: World, client: httpx.AsyncClient) -> None:
    request_id = api.gateway.hold("0198c0de-0000-7000-8000-000000000001")
    nonsense = api.gateway.hold("no session")
    api.gateway.end(request_id, HeldCause.EXPIRED)
    api.gateway.end(nonsense, HeldCause.EXPIRED)
    await until(lambda: api.gateway.holding == {})
