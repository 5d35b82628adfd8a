"""Every part may die in the middle of a turn: nothing is lost or doubled, and those who listen need not notice."""

import pytest

from tests.support.stack import Stack
from tests.support.stack_client import SESSIONS, Api, Frame, Talk, eventually, is_text_delta, talk_to
from tests.support.stack_stores import published, rows, stream_entries

RECOVERY_S = 60.0
TURN = "\n".join(f"demo> words 25 20\ndemo> run echo step {number}" for number in range(8))


async def well_again(api: Api, stack: Stack, service: str, before: int) -> None:
    """Return when another process does the work of the one that was killed and everything is well."""

    async def there() -> bool:
        if stack.pid(service) in {None, before}:
            return False
        answer = await api.http.get("/health")
        return answer.status_code == 200 and answer.json()["status"] == "ok"

    await eventually(there, seconds=RECOVERY_S, what=lambda: f"{service} is back and all is well")


async def caught_up(api: Api, created: Frame, talk: Talk) -> None:
    """Return when the manager has stored everything the session's own WebSocket was sent."""
    newest = talk.seqs[-1]

    async def there() -> bool:
        return bool((await api.get(created["id"]))["output_buffer_size"] >= newest)

    await eventually(there, seconds=RECOVERY_S, what=lambda: f"seq {newest} is stored")


async def assert_nothing_lost(api: Api, stack: Stack, session_id: str, direct: list[Frame]) -> None:
    """Compare every store with what the runner itself sent."""
    seqs = list(range(1, len(direct) + 1))
    assert [event["seq"] for event in direct] == seqs
    assert await rows(stack, session_id) == seqs
    assert await api.all(session_id, "output") == direct
    entries = await stream_entries(stack, session_id)
    assert entries == [(f"{event['seq']}-0", event) for event in direct][-len(entries) :]
    stored = await api.all(session_id, "events")
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    on_the_bus = await published(stack, session_id, len(stored))
    assert [event["seq"] for event in on_the_bus] == [event["seq"] for event in stored]
    assert [event["event_type"] for event in on_the_bus] == [event["event_type"] for event in stored]


async def test_a_killed_manager_loses_and_doubles_nothing(api: Api, stack: Stack) -> None:
    created = await api.create(TURN, allowed_tools=["Bash"])
    session_id = created["id"]
    async with talk_to(created, after=0) as talk:
        await talk.said("step 0")
        await talk.frame(is_text_delta, since=len(talk.frames))
        before = stack.kill("manager")
        await talk.turn(seconds=60)
        assert talk.code is None, "the session's own WebSocket must not notice"
        await well_again(api, stack, "manager", before)
        await caught_up(api, created, talk)
        shown = await api.until(session_id, status="waiting_input", waiting_for="prompt", seconds=RECOVERY_S)
        assert (shown["restarts"], shown["generation"]) == (created["restarts"], created["generation"])
        await api.delete(session_id)
        assert await talk.closed() == 1000
        direct = talk.events
    assert len(await stream_entries(stack, session_id)) == len(direct)
    await assert_nothing_lost(api, stack, session_id, direct)
    types = [event["event_type"] for event in await api.all(session_id, "events")]
    assert types.count("command.executed") == types.count("session.started") == 1


@pytest.mark.parametrize("service", ["postgres", "redis", "nats", "caddy"])
async def test_a_killed_service_loses_and_doubles_nothing(api: Api, stack: Stack, service: str) -> None:
    created = await api.create(TURN, allowed_tools=["Bash"])
    session_id = created["id"]
    async with talk_to(created, after=0) as talk:
        await talk.said("step 0")
        before = stack.kill(service)
        if service == "caddy":
            await talk.closed()
        else:
            await talk.turn(seconds=60)
            assert talk.code is None, "the session's own WebSocket needs the runner and Caddy alone"
        await well_again(api, stack, service, before)
    last = talk.seqs[-1]
    async with talk_to(created, after=last) as again:
        if service == "caddy":
            await again.turn(seconds=60)
        await api.until(session_id, status="waiting_input", waiting_for="prompt", seconds=RECOVERY_S)
        since = len(again.frames)
        await again.send(type="input", input="demo> say back again", id="after")
        await again.turn(since=since)
        await caught_up(api, created, again)
        await api.delete(session_id)
        await again.closed()
        direct = talk.events + again.events
    await assert_nothing_lost(api, stack, session_id, direct)


async def test_new_sessions_can_be_made_after_all_that(api: Api) -> None:
    created = await api.create("demo> say hello")
    async with talk_to(created, after=0) as talk:
        await talk.turn()
    stats = (await api.http.get(f"{SESSIONS}/stats")).json()
    assert stats["slots"]["used"] == 1
