"""A conversation outlives its volume: PostgreSQL has the transcript, and the real Claude Code resumes from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def asked(http: httpx.Client, url: str, text: str) -> dict[str, Any]:
    """Send an input, wait for its turn, and return the result."""
    answer = http.post(f"{url}/input?wait=60", json={"input": text})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["result"])


def folder_of(stack: LocalStack, session_id: str) -> Path:
    return stack.data_dir / "local" / session_id


def test_a_lost_volume_takes_no_conversation_with_it(running: LocalStack) -> None:
    with running.client() as http:
        session_id = http.post("/api/v1/sessions", json={"permission_mode": "acceptEdits"}).json()["id"]
        url = f"/api/v1/sessions/{session_id}"
        first = asked(http, url, "demo> say first")
        asked(http, url, "demo> write kept.txt lost")
        assert http.delete(url).json()["status"] == "terminated"
        [transcript] = folder_of(running, session_id).glob(f"session/home/.claude/projects/*/{session_id}.jsonl")
        before = [json.loads(line) for line in transcript.read_text().splitlines()]
        early = http.post(f"{url}/resume?workspace=new")
        assert (early.status_code, "has its workspace" in early.text) == (409, True), early.text
        shutil.rmtree(folder_of(running, session_id))

        refused = http.post(f"{url}/resume")
        assert (refused.status_code, "workspace=new" in refused.text) == (409, True), refused.text
        assert http.post(f"{url}/resume?workspace=empty").status_code == 422
        resumed = http.post(f"{url}/resume?workspace=new")
        assert resumed.status_code == 200, resumed.text
        second = asked(http, url, "demo> say second")
        # The whole conversation goes to the model again: without the earlier turn the request would be smaller.
        assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
        output = http.get(f"{url}/output?limit=1000").json()
        [restored] = [each["data"] for each in output if each["kind"] == "conversation_restored"]
        messages = [entry for entry in before if entry.get("uuid")]
        assert (restored["conversation_id"], restored["messages"]) == (session_id, len(messages))
        assert "conversation_lost" not in json.dumps(output)
        after = [json.loads(line) for line in transcript.read_text().splitlines()]
        assert [entry["uuid"] for entry in after if entry.get("uuid")][: len(messages)] == [
            entry["uuid"] for entry in messages
        ]
        assert [each["seq"] for each in output] == list(range(1, len(output) + 1)), "the numbering continues"
        files = http.get(f"{url}/files/", headers={"Accept": "application/json"}).json()
        assert files["entries"] == [], "its files are gone, and nothing says otherwise"
        assert http.delete(url).status_code == 200


def test_a_fork_has_the_conversation_up_to_a_turn_and_the_files(running: LocalStack) -> None:
    with running.client() as http:
        made = http.post("/api/v1/sessions", json={"permission_mode": "acceptEdits", "title": "work"}).json()
        url = f"/api/v1/sessions/{made['id']}"
        asked(http, url, "demo> write kept.txt here\ndemo> say first")
        first_seq = http.get(f"{url}/output?kind=turn_ended").json()[-1]["seq"]
        (folder_of(running, made["id"]) / "session" / "workspace" / "link").symlink_to("/usr/bin/env")
        asked(http, url, "demo> say second")
        answer = http.post(f"{url}/fork", json={"at_seq": first_seq})
        assert answer.status_code == 201, answer.text
        fork = answer.json()
        assert fork["forked_from"] == {"session_id": made["id"], "seq": first_seq, "workspace": "snapshot"}
        fork_url = f"/api/v1/sessions/{fork['id']}"
        assert http.get(f"{fork_url}/files/kept.txt").text.strip() == "here"
        assert (folder_of(running, fork["id"]) / "session" / "workspace" / "link").readlink() == Path("/usr/bin/env")
        asked(http, fork_url, "demo> say third")
        [transcript] = folder_of(running, fork["id"]).glob("session/home/.claude/projects/*/*.jsonl")
        said = transcript.read_text()
        assert all(word in said for word in ("say first", "say third"))
        assert "say second" not in said
        whole = http.post(f"{url}/fork").json()
        asked(http, f"/api/v1/sessions/{whole['id']}", "demo> say fourth")
        [transcript] = folder_of(running, whole["id"]).glob("session/home/.claude/projects/*/*.jsonl")
        assert all(word in transcript.read_text() for word in ("say first", "say second", "say fourth"))
        asked(http, url, "demo> say more")
        events = http.get(f"{url}/events?type=session.forked").json()
        assert [each["payload"]["fork"] for each in events] == [fork["id"], whole["id"]]
        for each in (made, fork, whole):
            assert http.delete(f"/api/v1/sessions/{each['id']}").status_code == 200


def test_a_transcript_that_the_agent_removed_is_put_back_at_the_next_start(running: LocalStack) -> None:
    with running.client() as http:
        session_id = http.post("/api/v1/sessions", json={"query": "demo> say first"}).json()["id"]
        url = f"/api/v1/sessions/{session_id}"
        asked(http, url, "demo> say second")
        shutil.rmtree(folder_of(running, session_id) / "session" / "home" / ".claude" / "projects")
        assert http.post(f"{url}/restart").status_code == 200
        asked(http, url, "demo> say third")
        kinds = [each["kind"] for each in http.get(f"{url}/output?limit=1000").json()]
        assert kinds.count("conversation_restored") == 1
        assert "conversation_started" not in kinds
        assert http.delete(url).status_code == 200
