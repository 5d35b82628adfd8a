"""The tokens of each call are in the session's account before the sandbox sees the end of the response."""

import asyncio

import aiohttp
import pytest

from jelmore_protocol.gateway import CallRecord
from tests.integration.gateway.world import OTHER, SESSION, World, script

pytestmark = pytest.mark.integration


def counts(record: CallRecord) -> tuple[int, int, int, int, bool]:
    return (
        record.input_tokens,
        record.output_tokens,
        record.cache_read_tokens,
        record.cache_write_tokens,
        record.complete,
    )


async def test_a_body_and_a_stream_are_metered_for_their_sessions(world: World) -> None:
    world.model.go_on.set()
    async with world.post(await world.register()) as response:
        await response.read()
    async with world.post(await world.register(OTHER, 3), headers=script("stream")) as response:
        await response.read()
    first, second = await world.state.calls_after(0)
    assert (first.seq, first.session_id, first.generation, first.model) == (1, SESSION, 1, "claude-x")
    assert counts(first) == (7, 5, 3, 2, True)
    assert (second.seq, second.session_id, second.generation) == (2, OTHER, 3)
    assert counts(second) == (9, 4, 0, 0, True)
    assert await world.state.calls_after(1) == [second]


async def test_an_interrupted_call_is_metered_as_far_as_it_is_known(world: World) -> None:
    socket = await world.register()
    async with world.post(socket, headers=script("break")) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    async with world.post(socket, headers=script("stream")) as response:
        await response.content.readline()  # and leaves
    async with asyncio.timeout(10):
        while len(records := await world.state.calls_after(0)) < 2:
            await asyncio.sleep(0.02)
    assert [counts(record) for record in records] == [(9, 0, 0, 0, False)] * 2


async def test_usage_survives_a_restart_and_continues_to_count(world: World) -> None:
    socket = await world.register()
    async with world.post(socket) as response:
        await response.read()
    before = world.gateway.health()
    await world.restart()
    async with world.post(socket) as response:
        await response.read()
    assert world.gateway.health().gateway == before.gateway
    assert [record.seq for record in await world.state.calls_after(0)] == [1, 2]
    assert world.gateway.health().calls_seq == 2


async def test_a_response_without_token_counts_is_not_metered(world: World) -> None:
    async with world.post(await world.register(), "/v1/messages/count_tokens") as response:
        assert response.status == 200
    assert await world.state.calls_after(0) == []
