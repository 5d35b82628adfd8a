"""An input to a hibernated session is accepted at once, and runs once whatever becomes of the manager."""

import os
import signal
from typing import Any

import httpx
import pytest

from tests.integration.whole.conftest import LocalStack
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def created(http: httpx.Client) -> str:
    """Return the URL of a session that hibernates soon."""
    rest = {"idle_after_s": 0.2, "hibernate_after_s": 0.4, "timeout_minutes": 0}
    answer = http.post("/api/v1/sessions", json={"query": "demo> say first", **rest})
    assert answer.status_code == 201, answer.text
    return f"/api/v1/sessions/{answer.json()['id']}"


async def hibernated(http: httpx.Client) -> str:
    """Return the URL of a hibernated session."""
    url = created(http)
    await until(lambda: http.get(url).json()["presence"] == "hibernated", seconds=60, what="the hibernation")
    return url


def outputs(http: httpx.Client, url: str, kind: str, input_id: str) -> list[dict[str, Any]]:
    found = http.get(f"{url}/output?limit=1000&kind={kind}").json()
    return [each for each in found if input_id in (each["data"].get("id"), each["data"].get("input_id"))]


async def test_an_input_is_kept_by_the_record_and_the_next_one_by_the_runner(running: LocalStack) -> None:
    with running.client() as http:
        url = await hibernated(http)
        accepted = http.post(f"{url}/input", json={"input": "demo> say second", "id": "two"})
        assert accepted.status_code == 202, accepted.text
        session = http.get(url).json()
        queued = http.get(f"{url}/queue").json()["inputs"]
        assert accepted.json()["waking"] is True
        assert session["pending_inputs"] == 1
        assert [(each["input_id"], each["input"]) for each in queued] == [("two", "demo> say second")]
        third = http.post(f"{url}/input?wait=60", json={"input": "demo> say third", "id": "three"})
        assert third.status_code == 200, third.text
        assert third.json()["waking"] is False
        [second_at], [third_at] = (outputs(http, url, "input", each) for each in ("two", "three"))
        assert accepted.json()["seq"] < second_at["seq"] < third_at["seq"] == third.json()["seq"]
        assert len(outputs(http, url, "turn_ended", "two")) == 1
        assert http.get(url).json()["pending_inputs"] == 0
        http.delete(url)


async def test_a_manager_that_is_killed_after_it_accepted_loses_and_doubles_nothing(running: LocalStack) -> None:
    with running.client() as http:
        url = await hibernated(http)
        accepted = http.post(f"{url}/input", json={"input": "demo> say again", "id": "kept"})
        manager = running.pid("manager")
        assert manager is not None
        os.kill(manager, signal.SIGKILL)
        assert accepted.json()["waking"] is True

        def answered() -> bool:
            try:
                return bool(outputs(http, url, "turn_ended", "kept"))
            except (httpx.HTTPError, ValueError, AttributeError, TypeError):
                return False  # no manager answers yet

        await until(answered, seconds=90, what="the result of the turn")
        assert len(outputs(http, url, "input", "kept")) == 1
        assert http.post(f"{url}/input", json={"input": "demo> say again", "id": "kept"}).status_code == 202
        assert len(outputs(http, url, "turn_ended", "kept")) == 1
        http.delete(url)
