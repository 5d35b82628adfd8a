"""The client's calls beside a conversation: events, webhooks, people, keys, money, the operator's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from jelmore.ports import Role
from jelmore_client import AsyncJelmore, ConflictError, LoggedEvent, NotFoundError, StreamGapError, UnauthenticatedError
from tests.integration.api.world import World, world
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


def connect(api: World, api_key: str | None = None) -> AsyncJelmore:
    return AsyncJelmore("http://test", api_key=api_key or api.keys[Role.ADMIN], socket_path=api.socket_path)


async def test_the_event_log_is_read_and_followed_by_position(api: World) -> None:
    async with connect(api) as jelmore:
        first = await jelmore.sessions.create(title="first")
        created = [event async for event in jelmore.events.list(types=["session.created"])]
        assert [event.session_id for event in created] == [first.id]

        received: list[LoggedEvent] = []

        async def follow() -> None:
            async with aclosing(jelmore.events.stream(after=created[0].position, types=["session.created"])) as events:
                async for event in events:
                    received.append(event)  # noqa: PERF401 - it is looked at meanwhile

        following = asyncio.create_task(follow(), name="following")
        second = await jelmore.sessions.create(title="second")
        await until(lambda: [event.session_id for event in received] == [second.id])
        following.cancel()
        assert [event.event_id async for event in second.published(types=["session.created"])] == [received[0].event_id]
        with pytest.raises(StreamGapError):
            await anext(jelmore.events.stream(after=10**9))


async def test_webhooks_are_kept_and_their_secrets_shown_once(api: World) -> None:
    async with connect(api) as jelmore:
        hook = await jelmore.webhooks.create("http://127.0.0.1:9/x", events=["session.*"], waiting_for=["permission"])
        assert hook.secret
        assert [each.id for each in await jelmore.webhooks.list()] == [hook.id]
        assert not (await jelmore.webhooks.change(hook.id, enabled=False)).enabled
        assert (await jelmore.webhooks.rotate_secret(hook.id)).secret != hook.secret
        assert [each async for each in jelmore.webhooks.deliveries(hook.id)] == []
        assert await jelmore.webhooks.replay_failed(hook.id) == 0
        await jelmore.webhooks.delete(hook.id)
        with pytest.raises(NotFoundError):
            await jelmore.webhooks.get(hook.id)


async def test_people_join_by_an_invite_and_talk(api: World) -> None:
    async with connect(api) as jelmore, await jelmore.sessions.create() as session:
        invite = await session.people.invite("viewer", uses=2)
        assert [each.id for each in await session.people.invites()] == [invite.id]
        accepted = await jelmore.accept_invite(invite.invite, "Ada")
        async with connect(api, accepted.credential) as as_guest:
            theirs = await as_guest.sessions.get(session.id)
            assert (await theirs.people.me()).name == "Ada"
            said = await theirs.people.comment("hello")
            await theirs.people.mark_read()
            assert [each.text async for each in session.people.comments(after=said.seq - 1)] == ["hello"]
            assert {each.name for each in await session.people.participants()} >= {"Ada"}
            assert (await jelmore.inbox())[0].unread.comments == 1
            await session.people.remove(accepted.participant.id)
            await session.people.revoke_invite(invite.id)
            assert await session.people.invites() == []

            async def is_refused() -> bool:
                try:
                    await theirs.people.me()
                except UnauthenticatedError:
                    return True
                return False

            await until(is_refused)


async def test_keys_and_the_audit_log(api: World) -> None:
    async with connect(api) as jelmore:
        made = await jelmore.keys.create("pipeline", role="client")
        async with connect(api, made.key) as theirs:
            assert (await theirs.me()).id == made.id
        assert (await jelmore.keys.change(made.id, act_as=True)).act_as
        assert (await jelmore.keys.rotate(made.id)).key != made.key
        await jelmore.keys.revoke(made.id)
        assert made.id not in [each.id for each in await jelmore.keys.list()]
        assert "create_key" in {entry.action async for entry in jelmore.admin.audit()}


async def test_the_operator_drains_and_the_record_of_a_session_is_read(api: World, tmp_path: Path) -> None:
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create(title="mine")
        assert (await jelmore.sessions.stats())["total"] >= 1
        assert (await session.health()).status
        assert (await session.resources()).series == []
        assert [each.seq async for each in session.output()] == [1]
        assert (await session.renew_token(scopes=["read"])).token
        assert await session.transcript(tmp_path / "out.md") == (tmp_path / "out.md").stat().st_size > 0
        assert (await jelmore.admin.drain()).draining
        async with asyncio.timeout(20):  # another manager may take a turn for two seconds
            while not (await jelmore.admin.drain_state()).drained:
                await asyncio.sleep(0.1)
        assert not (await jelmore.admin.undo_drain()).draining
        assert (await jelmore.admin.change_settings(max_sessions=7)).max_sessions.value == 7
        assert (await jelmore.admin.cleanup()).removed == {}
        assert (await jelmore.ticket()).ticket


async def test_budgets_usage_and_erasure() -> None:
    async with world() as api, connect(api) as jelmore:
        await jelmore.budgets.set("key", "k", 5.0, period="total")
        assert [(each.subject, each.limit_usd) for each in await jelmore.budgets.list()] == [("k", 5.0)]
        await jelmore.budgets.remove("key", "k", period="total")
        assert await jelmore.budgets.list() == []
        session = await jelmore.sessions.create()
        assert (await jelmore.usage("turn", session_id=session.id)).total.turns == 0
        with pytest.raises(ConflictError):
            await session.erase()
        erased = await session.erase(end=True)
        assert erased == await session.erase()
        with pytest.raises(NotFoundError):
            await session.refresh()
