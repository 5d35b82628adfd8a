"""Budgets: which limit runners get, and which sessions are resumed."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from jelmore.control.metered_usage import MeteredUsage
from jelmore.ports.usage import Period, Scope, UsageBy, UsageQuery
from jelmore.session.errors import ForbiddenError
from jelmore.session.record import Spec
from jelmore.session.states import Presence, SessionStatus, WaitingFor
from jelmore.session.usage import UsageSum
from tests.support.records import MOMENT, ended
from tests.support.waiting import until
from tests.unit.control.static_harness import StaticHarness
from tests.unit.control.world import ADMIN, ALICE, READER

TOTAL, USER, KEY = Period.TOTAL, Scope.USER, Scope.KEY
ASLEEP = {"presence": Presence.PAUSED, "status": SessionStatus.IDLE, "waiting_for": WaitingFor.BUDGET}


async def test_a_runner_gets_the_tightest_of_its_budgets() -> None:
    harness = StaticHarness()
    session, runner = await harness.session(spec=Spec(user_id="ann", budget_usd=5))
    await harness.budgets.apply(session.id)
    session = await harness.spend(session, 1.0)
    await harness.budgets.set_budget(ADMIN, USER, "ann", TOTAL, 3)
    await harness.budgets.apply(session.id)
    await harness.budgets.set_budget(ADMIN, KEY, session.owner, TOTAL, 0.5)
    await harness.budgets.apply(session.id)
    assert runner.pause_at == [5.0, 3.0, 1.0]
    assert await harness.budgets.pause_at(session) == 1.0


async def test_what_no_turn_reported_counts_toward_the_budget_of_its_session() -> None:
    harness = StaticHarness()
    session, runner = await harness.session(spec=Spec(budget_usd=5))
    session = await harness.spend(session, 1.0)
    metered = MeteredUsage(harness.usage, harness.budgets.changed)
    harness.usage.missing = {session.id: UsageSum("", cost_usd=4.5)}
    await metered.sweep()
    assert await harness.budgets.pause_at(session) == 1.0, "the runner knows of one dollar only"
    assert (await harness.budgets.unreported(session.id)).cost_usd == 4.5
    running = asyncio.create_task(harness.budgets.run(), name="budgets")
    await until(lambda: runner.pause_at == [1.0])
    running.cancel()
    await metered.sweep()  # there is nothing to do


async def test_a_session_that_cannot_be_compared_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = StaticHarness()
    broken, other = uuid4(), uuid4()
    harness.usage.missing = {broken: UsageSum("", cost_usd=1), other: UsageSum("", cost_usd=2)}
    settle, seen = harness.usage.settle, list[UUID]()

    async def settle_or_fail(session_id: UUID) -> bool:
        if session_id == broken:
            raise ValueError("a row that nobody understands")
        return await settle(session_id)

    monkeypatch.setattr(harness.usage, "settle", settle_or_fail)
    await MeteredUsage(harness.usage, seen.append).sweep()
    assert seen == [other]


async def test_without_a_budget_nothing_is_sent() -> None:
    harness = StaticHarness()
    session, runner = await harness.session()
    await harness.budgets.apply(session.id)
    assert (runner.pause_at, await harness.budgets.pause_at(session)) == ([], None)
    await harness.store.save(*ended(session))
    await harness.budgets.apply(session.id)


async def test_a_used_up_budget_holds_the_others_that_it_covers() -> None:
    harness = StaticHarness()
    (one, _), (_, second), (_, third) = [
        await harness.session(spec=Spec(user_id=name)) for name in ("ann", "ann", "bob")
    ]
    await harness.budgets.set_budget(ADMIN, USER, "ann", TOTAL, 1)
    await harness.spend(one, 1.5)
    await harness.budgets.apply(one.id)
    assert (second.pause_at, third.pause_at) == ([0.0], [])


async def test_a_sleeping_session_resumes_when_its_budget_is_raised_and_a_slot_is_free() -> None:
    harness = StaticHarness()
    session, _ = await harness.session(spec=Spec(budget_usd=1))
    session = await harness.spend(session, 1.5, **ASLEEP)
    await harness.budgets.apply(session.id)
    assert (await harness.store.load(session.id)).presence is Presence.PAUSED
    raised = replace(session, spec=replace(session.spec, budget_usd=9))
    await harness.store.save(raised, [])
    for hindrance, value in (("draining", True), ("most_live", 0)):
        before = getattr(harness.defaults, hindrance)
        setattr(harness.defaults, hindrance, value)
        await harness.budgets.apply(session.id)
        assert (await harness.store.load(session.id)).presence is Presence.PAUSED, hindrance
        setattr(harness.defaults, hindrance, before)
    await harness.budgets.apply(session.id)
    assert (await harness.store.load(session.id)).presence is Presence.AWAKE
    assert harness.queue.depth() == 1


async def test_changes_and_sweeps_reach_every_limited_session() -> None:
    harness = StaticHarness()
    (own, first), (covered, second) = await harness.session(spec=Spec(budget_usd=1)), await harness.session()
    harness.tasks.keep("budgets", harness.budgets.run)
    await harness.budgets.set_budget(ADMIN, USER, "ann", TOTAL, 2)
    await harness.budgets.sweep()
    while not (first.pause_at and second.pause_at):
        await asyncio.sleep(0)
    await harness.budgets.remove_budget(ADMIN, USER, "ann", TOTAL)
    assert [each.subject for each in await harness.budgets.budgets(ADMIN)] == []
    assert (own.id < covered.id, first.pause_at, second.pause_at[0]) == (True, [1.0], 2.0)
    await harness.tasks.close()


async def test_who_may_see_and_set_what() -> None:
    harness = StaticHarness()
    session, _ = await harness.session(owner=ALICE.key.id)
    await harness.spend(session, 1.0)
    for caller in (ALICE, READER):
        with pytest.raises(ForbiddenError):
            await harness.budgets.set_budget(caller, USER, "ann", TOTAL, 1)
        with pytest.raises(ForbiddenError):
            await harness.budgets.remove_budget(caller, USER, "ann", TOTAL)
    with pytest.raises(ForbiddenError):
        await harness.budgets.totals(ALICE)
    totals, waiting = await harness.budgets.totals(READER)
    assert ([each.cost_usd for each in totals], waiting) == ([1.0], 0)
    days = UsageQuery(UsageBy.KEY, MOMENT.date(), MOMENT.date())
    assert (await harness.budgets.usage(ALICE, days))[0].cost_usd == 1.0
