"""The engine goes away under a running manager: what runs continues, what needs the engine is refused at once."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.engine_relay import EngineRelay
from tests.support.stack_client import SESSIONS, Api, eventually, talk_to
from tests.support.stack_quickstart import QuickStart


@pytest_asyncio.fixture
async def way_to_engine() -> AsyncIterator[EngineRelay]:
    with tempfile.TemporaryDirectory(prefix="jm-") as folder:
        relay = EngineRelay(Path(folder) / "docker.sock")
        await relay.lead()
        yield relay
        await relay.cut()


@pytest_asyncio.fixture
async def api(runner_image: None, way_to_engine: EngineRelay) -> AsyncIterator[Api]:
    """Calls to a quick start whose engine can be taken away."""
    stack = QuickStart(DOCKER_HOST=way_to_engine.url)
    try:
        await asyncio.to_thread(stack.start)  # the relay works in this loop
        calls = Api(stack)
        yield calls
        await calls.close()
        await asyncio.to_thread(stack.stop)
        assert stack.remains() == []
    finally:
        try:
            await asyncio.to_thread(stack.stop)
        finally:
            stack.discard()


async def test_without_its_engine_turns_continue_and_creates_are_refused(api: Api, way_to_engine: EngineRelay) -> None:
    created = await api.create("demo> words 300 20\ndemo> say all of it")
    async with talk_to(created, after=0) as talk:
        await talk.said("words 300")
        await way_to_engine.cut()

        async def down() -> bool:
            return bool((await api.http.get("/health")).json()["status"] == "down")

        await eventually(down, seconds=30, what=lambda: "health is down")
        health = await api.http.get("/health")
        assert health.status_code == 503
        assert [name for name, check in health.json()["checks"].items() if check["status"] != "ok"] == ["sandboxes"]
        before = len(await api.live())
        began = time.monotonic()
        refused = await api.http.post(SESSIONS, json={})
        assert (refused.status_code, refused.json()["code"]) == (503, "dependency_away"), refused.text
        assert int(refused.headers["retry-after"]) >= 1
        assert time.monotonic() - began < 10, "a create must not hang on an engine that is away"
        assert len(await api.live()) == before
        await talk.turn(seconds=60)
        await talk.said("all of it")
        await way_to_engine.lead()

    async def well() -> bool:
        return bool((await api.http.get("/health")).json()["status"] == "ok")

    await eventually(well, seconds=60, what=lambda: "health is ok again")
    assert "and on" in str(await api.ask(created["id"], "demo> say and on"))
    assert (await api.get(created["id"]))["generation"] == created["generation"], "its container was never in danger"
    another = await api.create("demo> say a new one")
    await api.until(another["id"], status="waiting_input")
