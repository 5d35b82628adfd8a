"""What the gateway metered and no turn reported is in the sums, once, in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from jelmore.drivers.postgres_gateway import PostgresGateway
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.postgres_usage import PostgresUsage
from jelmore.ports.usage import Period, Scope, UsageBy, UsageQuery
from jelmore.session.record import Session, Usage
from jelmore.session.states import SessionStatus
from jelmore.session.usage import UsageSum
from jelmore_protocol.events import EventKind
from jelmore_protocol.gateway import CallPage, CallRecord
from tests.contract.usage_contract import turn
from tests.support.records import created, ended, line

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.date()
_WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
GATEWAY = str(UUID(int=7))


class Metered:
    """A session whose calls and turns are stored, and what becomes of its sums."""

    def __init__(self, url: str) -> None:
        self.store, self.calls = PostgresStore(url), PostgresGateway(url)
        self.usage = PostgresUsage(url)
        self._url = url
        self._seq = 0

    async def close(self) -> None:
        for part in (self.store, self.calls, self.usage):
            await part.close()

    async def called(self, session: Session, tokens: int, *, ago_s: float = 60, model: str = "opus") -> None:
        self._seq += 1
        record = CallRecord(
            seq=self._seq, session_id=str(session.id), generation=1, at=NOW - timedelta(seconds=ago_s), status=200,
            model=model, input_tokens=tokens, output_tokens=1, complete=True,
        )  # fmt: skip
        await self.calls.add_calls(CallPage(gateway=GATEWAY, calls=[record]))

    async def ended(self, session: Session, seq: int, kind: EventKind = EventKind.TURN_ENDED, *, ago_s: float = 50,
                    model: str = "opus") -> Session:  # fmt: skip
        """Store the end of a turn that reports 10 input tokens and an output token, for 0.15 dollars."""
        at = NOW - timedelta(seconds=ago_s)
        output = turn(seq, at, 0.15, model) if kind is EventKind.TURN_ENDED else replace(line(seq, {}, kind), at=at)
        turns = session.usage.turns + (kind is EventKind.TURN_ENDED)
        changed = replace(session, output_seq=seq, usage=replace(session.usage, turns=turns))
        return await self.store.save(changed, [], [output])

    @asynccontextmanager
    async def held(self, session: Session) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        """Let all who want the session's mark wait until the block ends; yield what waits for so many of them."""
        holder, watcher = await asyncpg.connect(self._url), await asyncpg.connect(self._url)

        async def wait_for(many: int) -> None:
            async with asyncio.timeout(20):
                while await watcher.fetchval(_WAITING) < many:
                    await asyncio.sleep(0.01)

        try:
            async with holder.transaction():
                await holder.execute("select from usage_metered where session_id = $1 for update", session.id)
                yield wait_for
        finally:
            await holder.close()
            await watcher.close()

    async def settled(self) -> list[bool]:
        return [await self.usage.settle(each) for each in await self.usage.unsettled(100)]

    async def spent(self, by: UsageBy = UsageBy.DAY) -> tuple[int, int, float]:
        total, _ = await self.usage.usage(UsageQuery(by, TODAY - timedelta(1), TODAY))
        return total.turns, total.input_tokens, round(total.cost_usd, 9)


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[Metered]:
    made = Metered(database_url)
    yield made
    await made.close()


async def waiting(world: Metered, **changes: object) -> Session:
    session = await created(world.store, owner="alice", **changes)
    return await world.store.save(replace(session, status=SessionStatus.WAITING_INPUT), [])


async def test_a_lost_turn_is_counted_once_at_the_price_of_the_others(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 10)
    session = await world.ended(session, 1)
    assert await world.settled() == [False], "what was reported is not counted again"
    await world.called(session, 20, ago_s=40)  # its agent was killed: the turn reports nothing
    await world.ended(session, 2, EventKind.INTERRUPTED, ago_s=39)
    assert await world.settled() == [True]
    assert await world.settled() == []
    found = await world.usage.unreported(session.id)
    assert found == UsageSum("", 0, 20, 1, 0, 0, found.cost_usd)
    assert found.cost_usd == pytest.approx(0.25)
    for by in (UsageBy.DAY, UsageBy.SESSION, UsageBy.KEY, UsageBy.USER, UsageBy.MODEL):
        assert await world.spent(by) == (1, 30, 0.4), by
    total, items = await world.usage.usage(UsageQuery(UsageBy.TURN, TODAY - timedelta(1), TODAY, session_id=session.id))
    assert [(each.name, each.input_tokens) for each in items] == [("1", 10), ("", 20)]
    assert total.input_tokens == 30
    await world.usage.set_budget(Scope.KEY, "alice", Period.TOTAL, 1, "me")
    assert [round(each.spent_usd, 9) for each in await world.usage.covering("alice", None)] == [0.4]


async def test_two_managers_that_compare_at_once_count_a_turn_once(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 20)
    async with world.held(session) as wait_for:
        comparing = [asyncio.create_task(world.usage.settle(session.id), name="comparing") for _ in range(2)]
        await wait_for(2)
    assert sorted(await asyncio.gather(*comparing)) == [False, True]
    assert (await world.spent())[1] == 20


async def test_a_call_that_is_being_stored_is_compared_too(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 20)
    async with world.held(session) as wait_for:
        storing = asyncio.create_task(world.called(session, 3), name="storing")
        await wait_for(1)
        comparing = asyncio.create_task(world.usage.settle(session.id), name="comparing")
        await wait_for(2)
    await asyncio.gather(storing, comparing)
    await world.settled()
    assert (await world.spent())[1] == 23


async def priced(world: Metered) -> None:
    """Let sessions of others have shown what a token costs: of haiku a tenth of one of opus."""
    for model, cost_usd in (("haiku", 0.015), ("opus", 0.15)):
        other = await waiting(world)
        await world.store.save(
            replace(other, output_seq=1), [], [turn(1, NOW - timedelta(seconds=90), cost_usd, model)]
        )


async def test_a_lost_turn_has_the_price_of_its_own_model(world: Metered) -> None:
    await priced(world)
    session = await waiting(world)
    await world.called(session, 995, model="haiku")
    assert await world.settled() == [True]
    assert (await world.usage.unreported(session.id)).cost_usd == pytest.approx(1.0)
    await world.called(session, 10, model="opus")
    assert await world.settled() == [True]
    assert (await world.usage.unreported(session.id)).cost_usd == pytest.approx(1.15)
    await world.ended(session, 1)  # the report of opus comes late
    assert await world.settled() == [True]
    assert (await world.usage.unreported(session.id)).cost_usd == pytest.approx(1.0)


async def test_a_report_takes_no_more_away_than_was_added(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 15)
    assert await world.settled() == [True]
    added_usd = (await world.usage.unreported(session.id)).cost_usd
    await world.ended(session, 1)  # 10 of its 15 tokens, and opus costs far more than was known
    assert await world.settled() == [True]
    left = await world.usage.unreported(session.id)
    assert left.input_tokens == 5
    assert 0 < left.cost_usd < added_usd


async def test_a_running_turn_is_left_out_until_it_ends(world: Metered) -> None:
    session = await waiting(world)
    session = await world.store.save(replace(session, status=SessionStatus.ACTIVE), [])
    await world.called(session, 500)
    assert await world.settled() == [False]
    assert await world.spent() == (0, 0, 0)
    session = await world.ended(session, 1, EventKind.INTERRUPTED)
    await world.called(session, 7, ago_s=45)  # the next turn runs already
    assert await world.settled() == [True]
    assert (await world.usage.unreported(session.id)).input_tokens == 500
    await world.store.save(replace(session, status=SessionStatus.WAITING_INPUT), [])
    assert await world.settled() == [True]
    assert (await world.usage.unreported(session.id)).input_tokens == 507


async def test_a_call_of_just_now_waits_for_its_report(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 10, ago_s=-3600)
    assert await world.settled() == [False]
    assert await world.usage.unsettled(10) == [session.id]


async def test_a_report_that_comes_late_is_not_counted_twice(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 10)
    assert await world.settled() == [True]
    assert (await world.spent())[1] == 10
    await world.ended(session, 1)
    assert await world.settled() == [True]
    assert await world.spent() == (1, 10, 0.15)
    assert await world.usage.unreported(session.id) == UsageSum("")
    assert await world.settled() == []


async def test_a_turn_may_report_more_than_was_metered(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 3, model="opus-4")
    await world.ended(session, 1, model="opus-4[1m]")
    assert await world.settled() == [False]
    assert await world.spent() == (1, 10, 0.15)


async def test_without_any_price_the_list_price_counts(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 999_995)
    assert await world.settled() == [True]
    assert await world.spent() == (0, 999_995, 5.0)


async def test_sums_by_day_outlive_the_session(world: Metered) -> None:
    session = await waiting(world)
    await world.called(session, 10)
    assert await world.settled() == [True]
    await world.store.save(*ended(await world.store.load(session.id))[:1], [])
    await world.store.forget(session.id)
    assert (await world.spent())[1] == 10
    assert (await world.spent(UsageBy.SESSION))[1] == 0
    assert await world.usage.unsettled(10) == []
    assert not await world.usage.settle(session.id)


def test_the_record_counts_turns_under_the_name_that_the_statement_reads() -> None:
    assert Usage(turns=3).turns == 3
