"""Forks through the API: what the new session gets, once, and what is refused."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from jelmore.ports import ControlAddress, Role
from jelmore_protocol.events import EventKind
from jelmore_protocol.transcripts import prompt_uuid
from tests.contract.transcripts_contract import entry
from tests.integration.api.world import World

pytestmark = pytest.mark.integration
SESSIONS = "/api/v1/sessions"


async def with_turns(api: World, http: httpx.AsyncClient) -> dict[str, Any]:
    """Return a session whose output and transcript have two turns, and a file."""
    made: dict[str, Any] = (await http.post(SESSIONS, json={"title": "work", "tags": ["a"], "model": "opus"})).json()
    runner = await api.runner(made["id"])
    for name in ("one", "two"):
        await runner.say(EventKind.INPUT, {"id": name, "input": name, "by": "alice"})
        await runner.say(EventKind.TURN_ENDED, {"input_id": name, "outcome": "completed"})
    session_id = UUID(made["id"])
    lines = [entry(1, uuid=prompt_uuid("one")), entry(2), entry(3, uuid=prompt_uuid("two")), entry(4)]
    await api.transcripts.add(session_id, lines)
    (api.folders.folder(made["id"]) / "kept.txt").write_text("here")
    await api.stored(made["id"], runner.seq)
    return made


async def test_a_fork_gets_options_files_and_the_conversation_up_to_its_point(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        made = await with_turns(api, http)
        first = (await http.get(f"{SESSIONS}/{made['id']}/output?kind=turn_ended")).json()[0]["seq"]
        answer = await http.post(f"{SESSIONS}/{made['id']}/fork", json={"at_seq": first})
        assert answer.status_code == 201, answer.text
        fork = answer.json()
        assert answer.headers["Location"] == f"{SESSIONS}/{fork['id']}"
        assert (fork["title"], fork["tags"], fork["model"]) == ("Fork of work", ["a"], "opus")
        assert fork["forked_from"] == {"session_id": made["id"], "seq": first, "workspace": "present"}
        assert (api.folders.folder(fork["id"]) / "kept.txt").read_text() == "here"
        assert sorted(api.transcripts.lines[UUID(fork["id"])]) == [1, 2]
        init = (await api.runner(fork["id"])).init
        assert init is not None
        assert init.transcript is not None
        assert (init.resume, init.transcript.conversation_id, init.transcript.messages) == (True, "c", 2)
        events = (await http.get(f"{SESSIONS}/{made['id']}/events?type=session.forked")).json()
        assert [each["payload"] for each in events] == [{"fork": fork["id"], "at_seq": first, "workspace": "present"}]


async def test_a_repeated_key_copies_nothing_again(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        made = await with_turns(api, http)
        url, headers = f"{SESSIONS}/{made['id']}/fork", {"Idempotency-Key": "once"}
        first = await http.post(url, json={"title": "x"}, headers=headers)
        copies = len(api.folders.started)
        again = await http.post(url, json={"title": "x"}, headers=headers)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        assert again.headers["Idempotency-Replayed"] == "true"
        assert len(api.folders.started) == copies
        other = await http.post(url, json={"title": "y"}, headers=headers)
        assert other.status_code == 422, other.text
        events = (await http.get(f"{SESSIONS}/{made['id']}/events?type=session.forked")).json()
        assert len(events) == 1


async def test_what_cannot_be_forked_leaves_nothing(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        made = await with_turns(api, http)
        url = f"{SESSIONS}/{made['id']}/fork"
        beyond = await http.post(url, json={"at_seq": 10**6})
        assert (beyond.status_code, "at_seq" in beyond.text) == (422, True), beyond.text
        async with api.client(api.keys[Role.READONLY]) as reader:
            assert (await reader.post(url)).status_code == 403
        async with api.client("", Authorization=f"Bearer {made['token']}") as holder:
            assert (await holder.post(url)).status_code == 403, "a session token makes no sessions"
        async with api.client(api.other_key) as stranger:
            assert (await stranger.post(url)).status_code == 404
        assert len((await http.get(SESSIONS)).json()) == 1


async def test_the_workspace_of_a_fork_is_the_one_of_its_point(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        made = await with_turns(api, http)
        first, second = (each["seq"] for each in (await http.get(f"{SESSIONS}/{made['id']}/output?kind=input")).json())
        folder = api.folders.folder(made["id"])
        asked = {"op": "snapshot", "seqs": [second], "within_s": 60}
        async with api.folders.call(ControlAddress("unix:/x", UUID(made["id"]), 1), asked) as answer:
            assert answer.head["in_time"]
        (folder / "kept.txt").write_text("of the second turn")
        (folder / "new.txt").write_text("of the second turn")

        async def forked(**body: int) -> tuple[str, dict[str, str]]:
            answer = await http.post(f"{SESSIONS}/{made['id']}/fork", json=body)
            assert answer.status_code == 201, answer.text
            fork = answer.json()
            files = {path.name: path.read_text() for path in api.folders.folder(fork["id"]).iterdir()}
            assert (await http.delete(f"{SESSIONS}/{fork['id']}")).status_code == 200
            return fork["forked_from"]["workspace"], files

        now = {"kept.txt": "of the second turn", "new.txt": "of the second turn"}
        assert await forked(at_seq=second) == ("snapshot", {"kept.txt": "here"})
        assert await forked() == ("present", now)
        assert await forked(at_seq=second + 1) == ("present", now), "no turn has begun since"
        assert await forked(at_seq=first) == ("present", now), "the first turn has no snapshot"
        assert {path.name: path.read_text() for path in folder.iterdir()} == now, "the session itself stays as it is"
        events = (await http.get(f"{SESSIONS}/{made['id']}/events?type=session.forked")).json()
        assert [each["payload"]["workspace"] for each in events] == ["snapshot", "present", "present", "present"]
