"""What every `UsageStore` does, fake or real."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jelmore.ports import Store
from jelmore.ports.usage import Period, Scope, UsageBy, UsageQuery, UsageStore
from jelmore.session.output import Output
from jelmore.session.record import Session, Spec
from jelmore.session.states import SessionStatus, WaitingFor
from jelmore.session.usage import UsageSum
from jelmore_protocol.events import EventKind
from tests.support.records import created, ended, line

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def turn(seq: int, at: datetime, cost_usd: float, model: str = "opus", **tokens: int) -> Output:
    """Return the output that ends a turn."""
    models: dict[str, Any] = {model: {"input_tokens": 10, "output_tokens": 1, "cost_usd": cost_usd, **tokens}}
    return replace(line(seq, {"models": models, "cost_usd": cost_usd}, EventKind.TURN_ENDED), at=at)


async def spent(store: Store, *turns: Output, **changes: object) -> Session:
    """Return a stored session with these turns."""
    session = await created(store, **changes)
    return await store.save(replace(session, output_seq=len(turns)), [], turns)


class UsageContract:
    """Subclasses give the fixtures `store` and `usage`, which see the same sessions."""

    async def test_turns_are_summed_by_everything(self, store: Store, usage: UsageStore) -> None:
        late = NOON + timedelta(hours=12)  # the next day
        first = await spent(store, turn(1, NOON, 0.5), turn(2, late, 0.25, "haiku", cache_read_tokens=3), owner="alice")
        second = await spent(store, turn(1, NOON, 1.0, cache_write_tokens=2), owner="bob", spec=Spec(user_id=None))
        since, until = NOON.date(), late.date()

        async def sums(by: UsageBy, **more: Any) -> list[tuple[str, int, float]]:
            _, items = await usage.usage(replace(UsageQuery(by, since, until), **more))
            return [(item.name, item.turns, item.cost_usd) for item in items]

        total, _ = await usage.usage(UsageQuery(UsageBy.DAY, since, until))
        assert total == UsageSum("", 3, 30, 3, 3, 2, 1.75)
        assert await sums(UsageBy.DAY) == [("2026-03-01", 2, 1.5), ("2026-03-02", 1, 0.25)]
        assert await sums(UsageBy.DAY, since=until) == [("2026-03-02", 1, 0.25)]
        assert await sums(UsageBy.USER) == [("", 1, 1.0), ("user-1", 2, 0.75)]
        assert await sums(UsageBy.KEY) == [("bob", 1, 1.0), ("alice", 2, 0.75)]
        assert await sums(UsageBy.MODEL) == [("opus", 2, 1.5), ("haiku", 1, 0.25)]
        assert await sums(UsageBy.SESSION) == [(str(second.id), 1, 1.0), (str(first.id), 2, 0.75)]
        assert await sums(UsageBy.SESSION, until=since) == [(str(second.id), 1, 1.0), (str(first.id), 1, 0.5)]
        assert await sums(UsageBy.MODEL, owner="alice") == [("opus", 1, 0.5), ("haiku", 1, 0.25)]
        assert await sums(UsageBy.KEY, limit=1) == [("bob", 1, 1.0)]
        empty, items = await usage.usage(UsageQuery(UsageBy.DAY, since - timedelta(9), since - timedelta(8)))
        assert (empty, list(items)) == (UsageSum(""), [])
        assert [(each.name, each.turns, each.cost_usd) for each in await usage.usage_totals()] == [
            ("opus", 2, 1.5),
            ("haiku", 1, 0.25),
        ]

    async def test_one_session_is_summed_by_everything(self, store: Store, usage: UsageStore) -> None:
        models = {
            name: {"input_tokens": 1, "output_tokens": 1, "cost_usd": cost} for name, cost in (("a", 1), ("b", 2))
        }
        both = replace(line(10, {"models": models, "cost_usd": 3}, EventKind.TURN_ENDED), at=NOON)
        mine = await spent(store, turn(9, NOON, 0.5), both, turn(11, NOON + timedelta(hours=12), 0.25), owner="alice")
        await spent(store, turn(10, NOON, 9.0), owner="alice")
        query = UsageQuery(UsageBy.TURN, NOON.date(), NOON.date() + timedelta(1), session_id=mine.id)
        total, items = await usage.usage(query)
        assert (total.turns, total.cost_usd) == (3, 3.75)
        assert [(each.name, each.turns, each.cost_usd) for each in items] == [
            ("11", 1, 0.25),
            ("10", 1, 3.0),
            ("9", 1, 0.5),
        ]
        assert [each.name for each in (await usage.usage(replace(query, limit=1)))[1]] == ["11"]
        for by, names in (
            (UsageBy.MODEL, ["b", "a", "opus"]),
            (UsageBy.DAY, ["2026-03-01", "2026-03-02"]),
            (UsageBy.SESSION, [str(mine.id)]),
            (UsageBy.KEY, ["alice"]),
            (UsageBy.USER, ["user-1"]),
        ):
            assert [each.name for each in (await usage.usage(replace(query, by=by)))[1]] == names
        assert (await usage.usage(replace(query, owner="bob")))[1] == []

    async def test_output_that_is_stored_already_is_not_counted_again(self, store: Store, usage: UsageStore) -> None:
        session = await spent(store, turn(1, NOON, 0.5))
        await store.save(session, [], [turn(1, NOON, 0.5)])
        total, _ = await usage.usage(UsageQuery(UsageBy.DAY, NOON.date(), NOON.date()))
        assert (total.turns, total.cost_usd) == (1, 0.5)

    async def test_budgets_are_kept_with_what_was_spent_of_them(self, store: Store, usage: UsageStore) -> None:
        now = datetime.now(UTC)
        await spent(store, turn(1, now - timedelta(days=2), 1.0), turn(2, now, 0.5), owner="alice")
        await spent(store, turn(1, now, 0.25), owner="bob", spec=Spec(user_id="user-2"))
        await usage.set_budget(Scope.KEY, "alice", Period.DAY, 9, "admin")
        await usage.set_budget(Scope.KEY, "alice", Period.TOTAL, 10, "admin")
        await usage.set_budget(Scope.USER, "user-2", Period.TOTAL, 11, "admin")
        await usage.set_budget(Scope.USER, "user-2", Period.TOTAL, 12, "other")

        def shown(budgets: Any) -> list[tuple[str, str, str, float, float, str]]:
            return [(b.scope, b.subject, b.period, b.limit_usd, b.spent_usd, b.updated_by) for b in budgets]

        alices = [("key", "alice", "day", 9, 0.5, "admin"), ("key", "alice", "total", 10, 1.5, "admin")]
        user = ("user", "user-2", "total", 12, 0.25, "other")
        assert shown(await usage.budgets(None)) == [*alices, user]
        assert shown(await usage.budgets("alice")) == alices
        assert sorted(shown(await usage.covering("alice", "user-2"))) == [*alices, user]
        assert shown(await usage.covering("bob", None)) == []
        assert await usage.remove_budget(Scope.KEY, "alice", Period.DAY)
        assert not await usage.remove_budget(Scope.KEY, "alice", Period.DAY)
        assert shown(await usage.budgets("alice")) == alices[1:]

    async def test_the_live_sessions_of_a_budget_are_known(self, store: Store, usage: UsageStore) -> None:
        plain = await created(store, owner="alice", spec=Spec())
        over = await created(store, owner="alice", spec=Spec(user_id="u", budget_usd=1))
        await store.save(*ended(over))
        own = await created(store, owner="bob", spec=Spec(budget_usd=1))
        waits = await created(
            store, owner="bob", spec=Spec(user_id="u"), status=SessionStatus.WAITING_INPUT,
            waiting_for=WaitingFor.BUDGET,
        )  # fmt: skip
        assert list(await usage.limited()) == [own.id, waits.id]
        assert await usage.waiting_for_budget() == 1
        await usage.set_budget(Scope.KEY, "alice", Period.DAY, 9, "admin")
        assert list(await usage.limited()) == [plain.id, own.id, waits.id]
        assert list(await usage.covered(Scope.KEY, "alice")) == [plain.id]
        assert list(await usage.covered(Scope.USER, "u")) == [waits.id]
