"""The inputs that wait: listed, changed and cancelled over the API and the socket, also while the session sleeps."""

from typing import Any
from uuid import UUID

import pytest

from jelmore.ports import Role
from jelmore.session.states import Presence
from jelmore_protocol.events import AgentState, WaitingFor
from tests.integration.api.world import World, frame
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SESSIONS = "/api/v1/sessions"


async def test_waiting_inputs_are_listed_changed_and_cancelled(api: World) -> None:
    async with api.client() as http:
        session_id = (await http.post(SESSIONS)).json()["id"]
        runner, url = await api.runner(session_id), f"{SESSIONS}/{session_id}"
        assert (await http.get(f"{url}/queue")).json() == {"session_id": session_id, "inputs": []}
        runner.holds = True
        for name in ("one", "a/b"):
            assert (await http.post(f"{url}/input", json={"id": name, "input": f"do {name}"})).status_code == 202
        listed = (await http.get(f"{url}/queue")).json()["inputs"]
        assert [(each["input_id"], each["input"]) for each in listed] == [("one", "do one"), ("a/b", "do a/b")]
        changed = await http.patch(f"{url}/queue/a%2Fb", json={"input": "do it better"})
        assert (changed.status_code, changed.json()["seq"]) == (200, runner.seq)
        cancelled = await http.delete(f"{url}/queue/one")
        assert (cancelled.status_code, cancelled.json()["input_id"]) == (200, "one")
        assert [each["input"] for each in (await http.get(f"{url}/queue")).json()["inputs"]] == ["do it better"]
        assert (await http.delete(f"{url}/queue/one")).status_code == 409
        assert (await http.delete(f"{url}/queue/never")).status_code == 404
        for bad in ({"input": " "}, {"input": 1}, {}, {"input": "x", "more": 1}):
            assert (await http.patch(f"{url}/queue/one", json=bad)).status_code == 422, bad
        await api.stored(session_id, runner.seq)
        messages = (await http.get(f"{url}/messages")).json()
        assert [block["type"] for each in messages for block in each["blocks"]][-2:] == [
            "input_changed",
            "input_cancelled",
        ]
    async with api.client(api.other_key) as stranger, api.client(api.keys[Role.READONLY]) as reader:
        assert (await stranger.get(f"{url}/queue")).status_code == 404
        assert (await reader.get(f"{url}/queue")).status_code == 200
        assert (await reader.delete(f"{url}/queue/a%2Fb")).status_code == 403


async def test_the_queue_of_a_sleeping_session_is_read_without_resuming_it_and_changed_by_resuming_it(
    api: World,
) -> None:
    async with api.client() as http:
        created = (await http.post(SESSIONS, json={"idle_after_s": 0.2})).json()
        session_id = created["id"]
        runner, url = await api.runner(session_id), f"{SESSIONS}/{session_id}"
        runner.holds = True
        await http.post(f"{url}/input", json={"id": "one", "input": "do one"})
        await http.post(f"{url}/input", json={"id": "two", "input": "do two"})
        await runner.become(AgentState.WAITING_INPUT, WaitingFor.BUDGET)

        async def presence() -> Presence:
            return (await api.store.load(UUID(session_id))).presence

        async def is_paused() -> bool:
            return await presence() is Presence.PAUSED

        await until(is_paused)
        listed = (await http.get(f"{url}/queue")).json()["inputs"]
        assert [each["input_id"] for each in listed] == ["one", "two"]
        assert await presence() is Presence.PAUSED
        token: dict[str, Any] = {"Authorization": f"Bearer {created['token']}"}
        async with api.connect(f"{url}/stream", additional_headers=token) as socket:
            await socket.send('{"type": "cancel_input", "id": "c", "input_id": "one"}')
            while (answer := await frame(socket))["type"] not in {"ack", "error"}:
                pass
            assert (answer["type"], answer["id"]) == ("ack", "c"), answer
            await socket.send('{"type": "change_input", "id": "d", "input_id": "never", "input": "x"}')
            while (answer := await frame(socket))["type"] not in {"ack", "error"}:
                pass
            assert (answer["type"], answer["code"]) == ("error", "unknown_request"), answer
        assert list(runner.waiting) == ["two"]


async def test_a_request_that_waits_for_a_cancelled_input_is_answered(api: World) -> None:
    async with api.client() as http:
        session_id = (await http.post(SESSIONS)).json()["id"]
        runner, url = await api.runner(session_id), f"{SESSIONS}/{session_id}"
        runner.holds = True

        async def cancel() -> bool:
            return (await http.delete(f"{url}/queue/one")).status_code == 200

        api.tasks.start("cancel", until(cancel))
        answer = await http.post(f"{url}/input?wait=20", json={"id": "one", "input": "do one"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"]["type"] == "cancelled"
