"""Rewinds and comparisons with a turn through the API; tests/integration/runner/test_rewind.py has the real agent."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from jelmore.ports import ControlAddress, Role
from jelmore.session.pending_inputs import PendingInput
from jelmore_protocol.events import EventKind
from jelmore_protocol.transcripts import prompt_uuid
from tests.contract.transcripts_contract import entry
from tests.integration.api.world import World, world

pytestmark = pytest.mark.integration
SESSIONS = "/api/v1/sessions"


@pytest.fixture
async def api() -> AsyncIterator[World]:
    async with world() as it:
        yield it


async def with_prompt(api: World, http: httpx.AsyncClient) -> tuple[str, int]:
    """Return a session with one prompt that has ended, and the seq of the prompt."""
    made: dict[str, Any] = (await http.post(SESSIONS, json={})).json()
    runner = await api.runner(made["id"])
    seq = await runner.say(EventKind.INPUT, {"id": "one", "input": "one", "by": "alice"})
    await runner.say(EventKind.TURN_ENDED, {"input_id": "one", "outcome": "completed"})
    await api.stored(made["id"], runner.seq)
    return made["id"], seq


async def keep(api: World, session_id: str, seq: int) -> None:
    """Keep the workspace before a turn, as the runner does."""
    asked = {"op": "snapshot", "seqs": [seq], "within_s": 60}
    async with api.folders.call(ControlAddress("unix:/x", UUID(session_id), 1), asked) as answer:
        assert answer.head["in_time"]


async def test_a_rewind_is_an_output_an_event_and_a_message(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        session_id, seq = await with_prompt(api, http)
        answer = await http.post(f"{SESSIONS}/{session_id}/rewind", json={"to_seq": seq, "files": False})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body == {**body, "session_id": session_id, "to_seq": seq, "files": False, "conversation": True}
        await api.stored(session_id, body["seq"])
        [event] = (await http.get(f"{SESSIONS}/{session_id}/events?type=session.rewound")).json()
        assert (event["output_seq"], event["payload"]["input_id"]) == (body["seq"], "one")
        [shown] = [
            each
            for each in (await http.get(f"{SESSIONS}/{session_id}/messages")).json()
            if each["blocks"][0]["type"] == "rewound"
        ]
        assert (shown["seq"], shown["blocks"][0]["to_seq"]) == (body["seq"], seq)
        assert "rewound" in (await http.get(f"{SESSIONS}/{session_id}/transcript")).text


async def test_what_cannot_be_rewound_is_refused_by_name(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        session_id, seq = await with_prompt(api, http)
        url = f"{SESSIONS}/{session_id}/rewind"
        for body, status, text in (
            ({"to_seq": seq + 1}, 422, "to_seq"),
            ({"to_seq": 10**6}, 422, "to_seq"),
            ({"to_seq": seq, "files": False, "conversation": False}, 422, "files"),
            ({}, 422, "to_seq"),
        ):
            answer = await http.post(url, json=body)
            assert (answer.status_code, text in answer.text) == (status, True), answer.text
        runner = await api.runner(session_id)
        await runner.say(EventKind.INPUT, {"id": "two", "input": "two", "by": "alice"})
        await runner.say(EventKind.STATE, {"state": "active", "waiting_for": None, "input_id": "two"})
        await api.stored(session_id, runner.seq)
        busy = await http.post(url, json={"to_seq": seq})
        assert (busy.status_code, "a turn runs" in busy.text) == (409, True), busy.text
    async with api.client(api.keys[Role.READONLY]) as reader:
        assert (await reader.post(url, json={"to_seq": seq})).status_code == 403
    async with api.client(api.other_key) as stranger:
        assert (await stranger.post(url, json={"to_seq": seq})).status_code == 404


async def test_nothing_is_taken_back_while_an_input_waits_in_the_record(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        session_id, seq = await with_prompt(api, http)
        session = await api.store.load(UUID(session_id))
        waits = PendingInput("two", "go", "alice", "", seq, refusal="the workspace is full")
        await api.store.save(replace(session, pending_inputs=(waits,)), [])
        answer = await http.post(f"{SESSIONS}/{session_id}/rewind", json={"to_seq": seq, "files": False})
        assert (answer.status_code, "1 inputs wait; cancel them first" in answer.text) == (409, True), answer.text


async def test_a_workspace_is_compared_with_before_a_turn(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        session_id, seq = await with_prompt(api, http)
        folder = api.folders.folder(session_id)
        (folder / "kept").write_text("kept\n")
        await keep(api, session_id, seq)
        (folder / "kept").write_text("changed\n")
        url = f"{SESSIONS}/{session_id}"
        for turn in (str(seq), "one"):
            diff = (await http.get(f"{url}/diff", params={"turn": turn})).json()
            assert [(each["path"], each["status"]) for each in diff["files"]] == [("kept", "modified")]
        text = (await http.get(f"{url}/diff", params={"turn": "one", "format": "unified"})).text
        assert "-kept\n+changed" in text
        patch = await http.get(f"{url}/patch", params={"turn": "one"})
        assert "+changed" in patch.text
        for params, status in (
            ({"turn": str(seq + 1)}, 404),
            ({"turn": "9" * 40}, 404),
            ({"turn": "0"}, 404),
            ({"turn": "unknown"}, 404),
            ({"turn": "one", "from": "HEAD"}, 422),
        ):
            assert (await http.get(f"{url}/diff", params=params)).status_code == status


async def test_without_a_repository_the_start_is_before_the_first_turn(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        made = (await http.post(SESSIONS, json={})).json()
        url = f"{SESSIONS}/{made['id']}/diff?against=start"
        early = await http.get(url)
        assert (early.status_code, early.json()["code"]) == (409, "conflict")
        session_id, seq = await with_prompt(api, http)
        no_snapshot = await http.get(f"{SESSIONS}/{session_id}/diff?against=start")
        assert (no_snapshot.status_code, "no snapshot" in no_snapshot.text) == (409, True)
        await keep(api, session_id, seq)
        (api.folders.folder(session_id) / "new").write_text("new\n")
        diff = (await http.get(f"{SESSIONS}/{session_id}/diff?against=start")).json()
        assert [(each["path"], each["status"]) for each in diff["files"]] == [("new", "added")]
        assert (await http.get(f"{SESSIONS}/{session_id}/bundle?against=start")).status_code == 409


async def test_a_fork_has_turns_of_its_own_and_names_the_session_of_those_before(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        session_id, seq = await with_prompt(api, http)
        await api.transcripts.add(UUID(session_id), [entry(1, uuid=prompt_uuid("one")), entry(2)])
        fork = (await http.post(f"{SESSIONS}/{session_id}/fork")).json()["id"]
        for turn in ("one", str(seq)):
            answer = await http.get(f"{SESSIONS}/{fork}/diff", params={"turn": turn})
            assert (answer.status_code, session_id in answer.json()["detail"]) == (404, True), answer.text
        refused = await http.post(f"{SESSIONS}/{fork}/rewind", json={"to_seq": seq})
        assert (refused.status_code, session_id in refused.json()["detail"]) == (422, True), refused.text
