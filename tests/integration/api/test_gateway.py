"""Routes, credentials and usage over the API: who may change what, and that no value comes back."""

from typing import Any
from uuid import UUID

import pytest

from jelmore.control.metered_usage import MeteredUsage
from jelmore.ports import Role
from jelmore.session.usage import UsageSum
from jelmore_protocol.gateway import CallPage, CallRecord, CredentialState, Scope, ServerState
from tests.integration.api.world import World
from tests.support.records import MOMENT

pytestmark = pytest.mark.integration

ROUTE = "/api/v1/admin/routes/mcp/docs"
CREDENTIAL = "/api/v1/credentials/docs"


async def test_an_admin_registers_routes_and_nobody_else(api: World) -> None:
    body = {"url": "https://docs.example/mcp", "credential": "docs", "users": ["ann"]}
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        for call in (client.put(ROUTE, json=body), client.get("/api/v1/admin/routes"), client.delete(ROUTE)):
            assert (await call).status_code == 403
        made = await admin.put(ROUTE, json=body)
        assert made.status_code == 200
        assert made.json()["name"] == "mcp/docs"
        assert (await admin.get("/api/v1/admin/routes")).json() == [made.json()]
        api.gateway.servers = [ServerState(name="mcp/docs", ok=False, problem="it answers 404", at=MOMENT)]
        await api.gateway_keeper.once()
        (shown,) = (await admin.get("/api/v1/admin/routes")).json()
        assert (shown["state"]["ok"], shown["state"]["problem"]) == (False, "it answers 404")
        assert (await admin.delete(ROUTE)).status_code == 204
        assert (await admin.delete(ROUTE)).status_code == 404


async def test_the_older_transport_is_for_mcp_servers(api: World) -> None:
    body = {"url": "https://docs.example/sse", "transport": "sse"}
    async with api.client() as admin:
        assert (await admin.put(ROUTE, json=body)).json()["transport"] == "sse"
        refused = await admin.put(ROUTE.replace("mcp/", "git/"), json=body)
        assert refused.status_code == 422
        assert "transport" in refused.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://docs.example"),
        ("url", "https://user:secret@docs.example"),
        ("url", "https://docs.example/?a=b"),
        ("credential", "../x"),
        ("header", "Bad Header"),
        ("prefix", "a\nb"),
        ("other", 1),
    ],
)
async def test_a_route_that_cannot_be_is_refused_by_field(api: World, field: str, value: object) -> None:
    async with api.client() as admin:
        refused = await admin.put(ROUTE, json={"url": "https://docs.example", field: value})
        assert refused.status_code == 422
        assert field in refused.text
        assert (await admin.put(ROUTE.replace("mcp/", "ftp/"), json={"url": "https://x.example"})).status_code == 422
        assert (await admin.get("/api/v1/admin/routes")).json() == []


async def test_a_credential_is_written_and_never_read(api: World) -> None:
    async with api.client() as admin:
        assert (await admin.put(CREDENTIAL, json={"value": "s3cret"})).status_code == 204
        assert (await admin.put(CREDENTIAL, params={"user_id": "ann"}, json={"value": "s3cret"})).status_code == 204
        shown = await admin.get("/api/v1/credentials")
        assert [(each["name"], each["scope"], each["owner"]) for each in shown.json()] == [
            ("docs", "deployment", ""),
            ("docs", "user", "ann"),
        ]
        assert "s3cret" not in shown.text
        assert (await admin.delete(CREDENTIAL, params={"user_id": "ann"})).status_code == 204
        assert (await admin.delete(CREDENTIAL, params={"user_id": "ann"})).status_code == 404
        assert len((await admin.get("/api/v1/credentials")).json()) == 1


async def test_a_client_sets_credentials_of_its_own_sessions_only(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as client, api.client(api.other_key) as stranger:
        made = (await client.post("/api/v1/sessions")).json()
        mine = {"session_id": made["id"]}
        assert (await client.put(CREDENTIAL, json={"value": "s3cret"})).status_code == 403
        assert (await client.put(CREDENTIAL, params={"user_id": "ann"}, json={"value": "s"})).status_code == 403
        assert (await client.put(CREDENTIAL, params=mine, json={"value": "s3cret"})).status_code == 204
        assert (await stranger.put(CREDENTIAL, params=mine, json={"value": "s3cret"})).status_code == 404
        assert (await client.get("/api/v1/credentials")).status_code == 403
        both = await client.put(CREDENTIAL, params={**mine, "user_id": "ann"}, json={"value": "s"})
        assert both.status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"value": "two\nlines"}, "value"),
        ({"value": "two words"}, "value"),
        ({"value": "schl\u00fcssel"}, "value"),
        ({"value": "x" * 5000}, "value"),
        ({"oauth": {"token_url": "https://auth.example/token", "client_id": "me", "client_secret": "s"}}, "oauth"),
    ],
)
async def test_a_credential_for_the_model_is_what_a_header_can_carry(
    api: World, body: dict[str, Any], field: str
) -> None:
    path = "/api/v1/credentials/ANTHROPIC_API_KEY"
    async with api.client() as admin:
        refused = await admin.put(path, params={"user_id": "ann"}, json=body)
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"].startswith(f"{field}: ")
        assert (await admin.put(path, params={"user_id": "ann"}, json={"value": "sk-ant-1"})).status_code == 204
        (shown,) = (await admin.get("/api/v1/credentials")).json()
        assert (shown["name"], shown["scope"], shown["owner"]) == ("ANTHROPIC_API_KEY", "user", "ann")


OAUTH = {"token_url": "https://auth.example/token", "client_id": "me", "client_secret": "s3cret", "scopes": ["read"]}


async def test_an_oauth_credential_is_written_and_its_state_is_shown(api: World) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        assert (await admin.put(CREDENTIAL, json={"oauth": OAUTH})).status_code == 204
        (shown,) = (await admin.get("/api/v1/credentials")).json()
        assert (shown["kind"], shown["state"]) == ("oauth", None)
        await admin.put(ROUTE.replace("mcp/", "git/"), json={"url": "https://docs.example", "credential": "docs"})
        problem = "the token URL answers 400, invalid_grant"
        failed = CredentialState(scope=Scope.DEPLOYMENT, name="docs", ok=False, problem=problem, at=MOMENT)
        api.gateway.credentials = [failed]
        await api.gateway_keeper.once()
        assert api.gateway.config.credentials[0].kind == "oauth"
        listed = await admin.get("/api/v1/credentials")
        assert listed.json()[0]["state"]["problem"] == problem
        assert "s3cret" not in listed.text
        (route,) = (await admin.get("/api/v1/admin/routes")).json()
        assert (route["state"]["ok"], route["state"]["problem"]) == (False, problem)
        mine = {"session_id": (await client.post("/api/v1/sessions")).json()["id"]}
        assert (await client.put(CREDENTIAL, params=mine, json={"oauth": OAUTH})).status_code == 204
        inside = {**OAUTH, "token_url": "http://10.0.0.1/token", "private": True}
        assert (await client.put(CREDENTIAL, params=mine, json={"oauth": inside})).status_code == 403
        api.gateway.oauth = False  # a gateway of an earlier version would send it to the route's server as it is
        assert (await admin.put(CREDENTIAL, json={"oauth": OAUTH})).status_code == 503
        await api.gateway_keeper.once()
        assert api.gateway.config.credentials == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "value"),
        ({"value": "a", "oauth": OAUTH}, "value"),
        ({"oauth": {**OAUTH, "token_url": "http://auth.example/token"}}, "token_url"),
        ({"oauth": {**OAUTH, "client_secret": ""}}, "client_secret"),
        ({"oauth": {**OAUTH, "scopes": ["s3cret s3cret"], "client_id": ""}}, "client_id"),
        ({"oauth": {**OAUTH, "grant": "password"}}, "grant"),
    ],
)
async def test_an_oauth_credential_that_cannot_be_is_refused_by_field(
    api: World, body: dict[str, object], says: str
) -> None:
    async with api.client() as admin:
        refused = await admin.put(CREDENTIAL, json=body)
        assert refused.status_code == 422
        assert says in refused.text
        assert "s3cret" not in refused.text
        assert (await admin.get("/api/v1/credentials")).json() == []


async def test_without_the_gateway_a_credential_is_not_taken(api: World) -> None:
    api.gateway.away = True
    async with api.client() as admin:
        refused = await admin.put(CREDENTIAL, json={"value": "s3cret"})
        assert refused.status_code == 503
        assert "s3cret" not in refused.text
        assert (await admin.get("/api/v1/credentials")).json() == []


async def test_usage_is_what_the_gateway_metered(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as client, api.client(api.other_key) as stranger:
        made = (await client.post("/api/v1/sessions")).json()
        path = f"/api/v1/sessions/{made['id']}/usage"
        none = dict.fromkeys(("turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"), 0)
        nothing = {"session_id": made["id"], "metered": [], "unreported": {**none, "cost_usd": 0}, "calls": []}
        assert (await client.get(path)).json() == nothing
        own = {"session_id": made["id"], "generation": 1, "at": MOMENT, "status": 200}
        calls = [
            CallRecord(seq=1, model="claude-x", input_tokens=5, output_tokens=7, **own),
            CallRecord(seq=2, route="mcp/docs", method="tools/call", tool="search", **own),
        ]
        await api.gateway_store.add_calls(CallPage(gateway=api.gateway.name, calls=calls))
        api.usage.missing = {UUID(made["id"]): UsageSum("", input_tokens=5, cost_usd=0.5)}
        await MeteredUsage(api.usage, api.budgets.changed).sweep()
        shown = (await client.get(path)).json()
        assert shown["unreported"] == {**none, "input_tokens": 5, "cost_usd": 0.5}
        assert shown["metered"][0] | {"model": "claude-x", "calls": 1, "output_tokens": 7} == shown["metered"][0]
        assert (shown["calls"][0]["route"], shown["calls"][0]["tool"]) == ("mcp/docs", "search")
        assert (await stranger.get(path)).status_code == 404


async def test_the_mcp_servers_of_a_session_are_listed_reconnected_and_switched(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as client, api.client(api.keys[Role.READONLY]) as reader:
        made = (await client.post("/api/v1/sessions", params={"wait": "true"}, json={})).json()
        path = f"/api/v1/sessions/{made['id']}/mcp"
        listed = (await reader.get(path)).json()["servers"]
        assert [(each["name"], each["status"], each["tools"]) for each in listed] == [("docs", "connected", ["search"])]
        assert (await client.post(f"{path}/docs/reconnect")).status_code == 200
        assert (await client.patch(f"{path}/docs", json={"enabled": False})).status_code == 200
        assert (await reader.patch(f"{path}/docs", json={"enabled": True})).status_code == 403
        assert (await client.patch(f"{path}/docs", json={})).status_code == 422
        runner = await api.runner(made["id"])
        assert runner.changes == [("mcp_reconnect", "docs"), ("mcp_toggle", "docs False")]


async def test_an_admin_sees_whether_the_model_api_accepts_the_credential(api: World) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        assert (await client.get("/api/v1/admin/model")).status_code == 403
        assert (await admin.get("/api/v1/admin/model")).json()["accepted"] is True
        api.gateway.model = api.gateway.model.model_copy(
            update={"accepted": False, "status": 401, "problem": "refused"}
        )
        found = (await admin.get("/api/v1/admin/model")).json()
        assert (found["accepted"], found["status"], found["problem"]) == (False, 401, "refused")
        api.gateway.away = True
        assert (await admin.get("/api/v1/admin/model")).status_code == 503
