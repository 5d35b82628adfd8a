"""A session that fills its workspace, as its owner sees it."""

import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.support.engine_relay import OCI_RUNTIME
from tests.support.stack import Stack
from tests.support.stack_client import Api, Frame, eventually, talk_to
from tests.support.stack_quickstart import QuickStart

MIB = 2**20


@pytest.fixture(scope="module")
def watchful(runner_image: None) -> Iterator[Stack]:
    """A quick start that probes its sessions every second."""
    stack = QuickStart(JELMORE_PROBE_EVERY_S="1", JELMORE_PROBE_GRACE_S="0")
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
        stack.discard()


@pytest_asyncio.fixture
async def api(watchful: Stack) -> AsyncIterator[Api]:
    made = Api(watchful)
    yield made
    await made.close()


async def test_growth_is_warned_of_stopped_and_refused_until_there_is_room(api: Api) -> None:
    created = await api.create(limits={"workspace_bytes": "64m"}, allowed_tools=["Bash"])
    session_id = created["id"]
    async with talk_to(created) as talk:
        await talk.send(type="input", id="fill", input="demo> run dd if=/dev/zero of=big bs=1M count=90; sleep 300")
        reported = await talk.said("workspace_full", seconds=60)
        assert "of 64 MiB" in reported["data"]["message"]
        await talk.turn(seconds=60)  # interrupted: it would have continued to sleep

    async def levels() -> list[int]:
        events: list[Frame] = await api.all(session_id, "events")
        return [
            event["payload"]["level_percent"]
            for event in events
            if event["event_type"] == "system.resource_warning" and event["payload"]["resource"] == "workspace"
        ]

    async def warned() -> bool:
        return bool(await levels())

    await eventually(warned, seconds=30, what=lambda: "a warning")
    assert await levels() == [100]
    shown = await api.get(session_id)
    assert shown["resources"]["workspace_bytes"] >= 90 * MIB
    assert shown["resources"]["warned_percent"]["workspace"] == 100
    if OCI_RUNTIME == DEFAULT_RUNTIME:  # gVisor shows the runner no figures of the control group
        assert shown["resources"]["pids"] > 0
        assert 0 < shown["resources"]["memory_bytes"] < shown["resources"]["memory_limit_bytes"]
    assert (await api.get(session_id, "/metrics"))["latest"]["workspace_bytes"] >= 90 * MIB

    refused = await api.post(session_id, "/input", {"input": "demo> say hello"})
    assert (refused.status_code, refused.json()["code"]) == (409, "workspace_full"), refused.text
    changed = await api.http.patch(f"/api/v1/sessions/{session_id}", json={"limits": {"workspace_bytes": "128m"}})
    assert changed.status_code == 200, changed.text
    assert "gone" in json.dumps(await api.ask(session_id, "demo> run rm big\ndemo> say gone"))


async def test_disk_and_loops_are_reported(api: Api) -> None:
    health = (await api.http.get("/health")).json()
    assert health["disk"]["free_bytes"] > 0
    stats: httpx.Response = await api.http.get("/api/v1/sessions/stats")
    assert stats.json()["disk"]["free_bytes"] > 0
    text = (await api.http.get("/metrics")).text
    for series in (
        'jelmore_loop_running{loop="probes"} 1.0',
        'jelmore_loop_last_run_age_seconds{loop="sweep"}',
        "jelmore_outbox_waiting ",
        "jelmore_outbox_published_total ",
        "jelmore_relays_following ",
        "jelmore_record_cache_hits_total ",
        "jelmore_disk_free_bytes ",
        "jelmore_sessions_workspace_bytes ",
    ):
        assert series in text, series
