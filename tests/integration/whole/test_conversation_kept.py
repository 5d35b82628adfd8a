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
        assert [each["seq"] for each in output] == list(range(1, len(output) + 1)), "one numbering goes on"
        files = http.get(f"{url}/files/", headers={"Accept": "application/json"}).json()
        assert files["entries"] == [], "its files are gone, and nothing says otherwise"
        assert http.delete(url).status_code == 200


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
