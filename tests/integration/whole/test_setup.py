"""The setup of a session in a running installation: from the create to the transcript, and over a wake."""

import time
from typing import Any

import pytest

from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def test_a_prompt_waits_for_the_setup_which_does_not_run_again(running: LocalStack) -> None:
    with running.client() as http:
        body = {"query": "demo> say ready", "setup": {"run": "sleep 2; echo installed; echo run >> runs"}}
        session_id = http.post("/api/v1/sessions", json=body).json()["id"]
        url = f"/api/v1/sessions/{session_id}"
        assert http.get(url).json()["status"] == "active", "the setup is work"
        deadline = time.monotonic() + 60
        while not (ended := kinds(http.get(f"{url}/output?limit=1000").json(), "turn_ended")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        output = http.get(f"{url}/output?limit=1000").json()
        [setup] = kinds(output, "setup_ended")
        [printed] = kinds(output, "setup_output")
        assert (setup["data"]["outcome"], printed["data"]["text"]) == ("completed", "installed\n")
        assert setup["seq"] < ended[0]["seq"]
        assert "installed" in http.get(f"{url}/transcript?format=markdown").text
        assert http.delete(url).status_code == 200
        assert http.post(f"{url}/resume").status_code == 200
        result = http.post(f"{url}/input?wait=60", json={"input": "demo> say again"})
        assert result.status_code == 200, result.text
        assert http.get(f"{url}/files/runs").text == "run\n"
        fork = http.post(f"{url}/fork", json={"query": "demo> say forked"}).json()["id"]
        forked = f"/api/v1/sessions/{fork}"
        deadline = time.monotonic() + 60
        while not kinds(http.get(f"{forked}/output?limit=1000").json(), "turn_ended"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert http.get(f"{forked}/files/runs").text == "run\nrun\n", "a fork has a home of its own, so it runs there"
        assert [http.delete(each).status_code for each in (url, forked)] == [200, 200]


def test_a_setup_that_fails_leaves_a_session_that_says_so(running: LocalStack) -> None:
    with running.client() as http:
        made = http.post("/api/v1/sessions", json={"setup": {"run": "echo no network; exit 7"}}).json()
        url = f"/api/v1/sessions/{made['id']}"
        assert http.post(f"{url}/input?wait=60", json={"input": "demo> say lives"}).status_code == 200
        errors = kinds(http.get(f"{url}/output?limit=1000").json(), "error")
        assert [error["data"]["code"] for error in errors] == ["setup_failed"]
        events = http.get(f"{url}/events?limit=1000").json()
        assert "setup_failed" in str(events)
        assert http.delete(url).status_code == 200


def kinds(output: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in output if each["kind"] == kind]
