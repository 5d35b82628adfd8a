"""What an operator does to a running installation: keys, drain, live settings, and the audit log."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from jelmore.ports import Role
from jelmore.session.errors import DependencyError
from jelmore_protocol.events import AgentState, WaitingFor
from tests.integration.api.test_events import listening
from tests.integration.api.world import World, world
from tests.support.waiting import until

pytestmark = pytest.mark.integration
KEYS, DRAIN, SETTINGS, AUDIT = (f"/api/v1/admin/{name}" for name in ("keys", "drain", "settings", "audit"))
SESSIONS = "/api/v1/sessions"


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


async def made_key(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post(KEYS, json={"name": "ci", **body})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(http: httpx.AsyncClient, key_id: str) -> dict[str, Any]:
    return next(key for key in (await http.get(KEYS)).json() if key["id"] == key_id)


async def test_a_key_has_a_name_dates_and_a_last_use(api: World) -> None:
    async with api.client() as http:
        key = await made_key(http, role="client", expires_in_s=3600)
        before = await listed(http, key["id"])
        assert "key" not in before
        assert (before["name"], before["role"], before["last_used_at"]) == ("ci", "client", None)
        assert before["created_at"] < before["expires_at"]
        assert before["created_by"] == (await listed(http, before["created_by"]))["id"]
        async with api.client(key["key"]) as mine:
            assert (await mine.get(SESSIONS)).status_code == 200
            assert (await mine.get(KEYS)).status_code == 403
        assert (await listed(http, key["id"]))["last_used_at"] is not None


async def test_a_key_expires_and_its_stream_ends(api: World) -> None:
    async with api.client() as http:
        key = await made_key(http, expires_in_s=2)
        async with api.client(key["key"]) as mine, listening(mine) as sse:
            assert (await sse.next())[1]["type"] == "hello"
            name, body = await sse.next()
            assert (name, body["code"]) == ("error", "unauthenticated")
            assert (await mine.get(SESSIONS)).status_code == 401


async def test_a_rotated_key_keeps_what_is_its_own(api: World) -> None:
    async with api.client() as http:
        key = await made_key(http)
        async with api.client(key["key"]) as former:
            session_id = (await former.post(SESSIONS)).json()["id"]
            rotated = (await http.post(f"{KEYS}/{key['id']}/rotate", json={"former_for_s": 3600})).json()
            assert (rotated["id"], rotated["name"]) == (key["id"], "ci")
            async with api.client(rotated["key"]) as mine:
                for client in (former, mine):
                    assert (await client.get(f"{SESSIONS}/{session_id}")).status_code == 200
                at_once = (await http.post(f"{KEYS}/{key['id']}/rotate", json={"former_for_s": 0})).json()
                for client in (former, mine):
                    assert (await client.get(SESSIONS)).status_code == 401, "who rotates after a leak ends every text"
            async with api.client(at_once["key"]) as newest:
                assert (await newest.get(f"{SESSIONS}/{session_id}")).status_code == 200
                assert [each["id"] for each in (await http.get(KEYS)).json()].count(key["id"]) == 1
                assert (await http.delete(f"{KEYS}/{key['id']}")).status_code == 204
                for client in (former, newest):
                    assert (await client.get(SESSIONS)).status_code == 401
        assert (await http.post(f"{KEYS}/{key['id']}/rotate")).status_code == 404
        assert (await http.delete(f"{KEYS}/{key['id']}")).status_code == 404


async def test_keys_are_for_admins_and_never_lock_everybody_out(api: World) -> None:
    async with api.client() as http:
        [own] = [key for key in (await http.get(KEYS)).json() if key["role"] == "admin"]
        assert (await http.delete(f"{KEYS}/{own['id']}")).status_code == 409
        assert (await http.post(KEYS, json={"name": ""})).status_code == 422
        assert (await http.post(KEYS, json={"name": "x", "role": "king"})).status_code == 422
    for role in (Role.CLIENT, Role.READONLY):
        async with api.client(api.keys[role]) as other:
            for call in (
                other.get(KEYS),
                other.post(KEYS, json={"name": "x"}),
                other.post(DRAIN),
                other.get(DRAIN),
                other.delete(DRAIN),
                other.get(SETTINGS),
                other.patch(SETTINGS, json={"log_level": "debug"}),
                other.get(AUDIT),
            ):
                assert (await call).status_code == 403


async def test_a_drain_lets_turns_end_and_none_begin(api: World) -> None:
    async with api.client() as http:
        session_id = (await http.post(SESSIONS)).json()["id"]
        runner = await api.runner(session_id)
        await http.post(f"{SESSIONS}/{session_id}/input", json={"input": "work", "id": "i1"})
        await until(lambda: "i1" in runner.inputs)
        await runner.become(AgentState.ACTIVE)

        async def active() -> bool:
            return bool((await http.get(f"{SESSIONS}/{session_id}")).json()["status"] == "active")

        await until(active)
        report = (await http.post(DRAIN)).json()
        assert (report["draining"], report["active_turns"], report["drained"]) == (True, 1, False)
        assert report["sessions"] == [session_id]
        for call in (
            http.post(SESSIONS),
            http.post(f"{SESSIONS}/{session_id}/input", json={"input": "more"}),
        ):
            refused = await call
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert refused.headers["retry-after"]
        assert (await http.get(f"{SESSIONS}/{session_id}")).status_code == 200
        waiting = asyncio.create_task(http.post(DRAIN, params={"wait": "8"}), name="drain")
        await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)
        report = (await waiting).json()
        assert (report["active_turns"], report["drained"]) == (0, True)
        assert (await http.delete(DRAIN)).json()["draining"] is False
        assert (await http.delete(DRAIN)).json()["draining"] is False
        assert (await http.post(SESSIONS)).status_code == 201


async def test_settings_change_live_and_go_back(api: World) -> None:
    async with api.client() as http:
        before = (await http.get(SETTINGS)).json()
        assert (before["max_sessions"]["value"], before["log_level"]["value"]) == (3, "info")
        changed = (await http.patch(SETTINGS, json={"max_sessions": 1, "log_level": "debug"})).json()
        assert (changed["max_sessions"]["value"], changed["max_sessions"]["configured"]) == (1, 3)
        assert changed["log_level"]["changed_by"]
        assert api.events.levels == ["debug"]
        assert (await http.post(SESSIONS)).status_code == 201
        full = await http.post(SESSIONS)
        assert (full.status_code, full.json()["code"]) == (429, "capacity")
        assert (await http.get(f"{SESSIONS}/stats")).json()["slots"] == {"used": 1, "total": 1}
        back = (await http.patch(SETTINGS, json={"max_sessions": None})).json()
        assert (back["max_sessions"]["value"], back["log_level"]["value"]) == (3, "debug")
        assert (await http.post(SESSIONS)).status_code == 201
        for bad in ({"max_sessions": 0}, {"log_level": "loud"}, {"memory_bytes": 1}):
            assert (await http.patch(SETTINGS, json=bad)).status_code == 422


async def test_the_audit_log_says_who_did_what_from_where(api: World) -> None:
    async with api.client(**{"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}) as http, api.client(api.other_key) as other:
        session_id = (await other.post(SESSIONS)).json()["id"]
        await http.get(f"{SESSIONS}/{session_id}")
        await http.delete(f"{SESSIONS}/{session_id}")
        assert (await other.post(KEYS, json={"name": "x"})).status_code == 403
        entries = (await http.get(AUDIT)).json()
        assert [(each["action"], each["outcome"], each["actor_name"]) for each in entries] == [
            ("create_session", "201", "another client"),
            ("delete_session", "200", "admin"),
            ("create_key", "403", "another client"),
        ]
        assert entries[1]["target"] == f"{SESSIONS}/{session_id}"
        assert (entries[1]["remote"], len(entries[1]["request_id"])) == ("192.0.2.7", 32)
        rest = await http.get(AUDIT, params={"after": entries[0]["id"], "limit": 1})
        assert [each["action"] for each in rest.json()] == ["delete_session"]
        mine = await http.get(AUDIT, params={"actor": entries[0]["actor"], "action": "create_key"})
        assert len(mine.json()) == 1
        assert (await http.get(AUDIT, params={"since": "2100-01-01T00:00:00Z"})).json() == []
        lines = (await http.get(AUDIT, params={"format": "ndjson"})).text.splitlines()
        assert [json.loads(line)["id"] for line in lines] == [each["id"] for each in entries]


async def test_the_audit_log_waits_for_a_database_that_is_away(api: World) -> None:
    audit, add = api.events.audit, api.events.operator_store.add_audit

    async def away(entries: Any) -> None:
        raise DependencyError("postgres", "away")

    async with api.client() as http:
        api.events.operator_store.add_audit = away  # type: ignore[method-assign]
        for _ in range(3):
            await http.post(f"{SESSIONS}/00000000-0000-0000-0000-000000000001/interrupt")
        with pytest.raises(DependencyError):
            await audit.write()
        api.events.operator_store.add_audit = add  # type: ignore[method-assign]
        assert [each["outcome"] for each in (await http.get(AUDIT)).json()] == ["404"] * 3
