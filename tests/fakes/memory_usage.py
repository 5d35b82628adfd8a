"""The `UsageStore` port over the output of a `MemoryStore`."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from uuid import UUID

from jelmore.ports.usage import Budget, Period, Scope, UsageBy, UsageQuery
from jelmore.session.record import Session
from jelmore.session.states import WaitingFor
from jelmore.session.usage import TurnUsage, UsageSum, turn_usages
from tests.fakes.memory_store import MemoryStore


class MemoryUsage:
    """Adds up what the stored output says, at each call."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._budgets: dict[tuple[Scope, str, Period], tuple[float, datetime, str]] = {}
        self.missing: dict[UUID, UsageSum] = {}  # what `settle` will find that no turn reported; in no other sum
        self._unreported: dict[UUID, UsageSum] = {}

    def _turns(self) -> list[tuple[Session, date, TurnUsage]]:
        return [
            (session, turn.at.astimezone(UTC).date(), turn)
            for session in self._store.sessions.values()
            for turn in turn_usages(self._store.outputs.get(session.id, {}).values())
        ]

    async def usage(self, query: UsageQuery) -> tuple[UsageSum, Sequence[UsageSum]]:
        total, sums = UsageSum(""), dict[str, UsageSum]()
        for session, day, turn in self._turns():
            mine = query.owner in {None, session.owner} and query.session_id in {None, session.id}
            if mine and query.since <= day <= query.until:
                name = _name(query.by, session, day, turn)
                total = _added(total, turn.usage)
                sums[name] = _added(sums.get(name, UsageSum(name)), turn.usage)
        return total, sorted(sums.values(), key=lambda each: _place(query.by, each))[: query.limit]

    async def usage_totals(self) -> Sequence[UsageSum]:
        everything = UsageQuery(UsageBy.MODEL, date.min, date.max)
        return (await self.usage(everything))[1][:50]

    async def budgets(self, owner: str | None) -> Sequence[Budget]:
        kept = [self._budget(*key) for key in sorted(self._budgets)]
        return [each for each in kept if owner is None or (each.scope, each.subject) == (Scope.KEY, owner)]

    def _budget(self, scope: Scope, subject: str, period: Period) -> Budget:
        limit, at, by = self._budgets[scope, subject, period]
        today = datetime.now(UTC).date()
        spent = sum(
            turn.usage.cost_usd
            for session, day, turn in self._turns()
            if subject == (session.owner if scope is Scope.KEY else session.spec.user_id)
            and (period is Period.TOTAL or day == today)
        )
        return Budget(scope, subject, period, limit, spent, at, by)

    async def covering(self, owner: str, user_id: str | None) -> Sequence[Budget]:
        mine = {(Scope.KEY, owner), (Scope.USER, user_id)}
        return [self._budget(*key) for key in self._budgets if key[:2] in mine]

    async def set_budget(self, scope: Scope, subject: str, period: Period, limit_usd: float, by: str) -> None:
        self._budgets[scope, subject, period] = limit_usd, datetime.now(UTC), by

    async def remove_budget(self, scope: Scope, subject: str, period: Period) -> bool:
        return self._budgets.pop((scope, subject, period), None) is not None

    async def covered(self, scope: Scope, subject: str) -> Sequence[UUID]:
        live = [one for one in self._store.sessions.values() if not one.ended]
        return [one.id for one in live if subject == (one.owner if scope is Scope.KEY else one.spec.user_id)]

    async def limited(self) -> Sequence[UUID]:
        subjects = {key[:2] for key in self._budgets}
        return [
            one.id
            for one in self._store.sessions.values()
            if not one.ended
            and (
                one.waiting_for is WaitingFor.BUDGET
                or one.spec.budget_usd is not None
                or subjects & {(Scope.KEY, one.owner), (Scope.USER, one.spec.user_id or "")}
            )
        ]

    async def waiting_for_budget(self) -> int:
        return sum(one.waiting_for is WaitingFor.BUDGET for one in self._store.sessions.values())

    async def unsettled(self, limit: int) -> Sequence[UUID]:
        return list(self.missing)[:limit]

    async def settle(self, session_id: UUID) -> bool:
        found = self.missing.pop(session_id, None)
        if found is not None:
            self._unreported[session_id] = found
        return found is not None

    async def unreported(self, session_id: UUID) -> UsageSum:
        return self._unreported.get(session_id, UsageSum(""))


def _place(by: UsageBy, each: UsageSum) -> tuple[float, str]:
    if by is UsageBy.TURN:
        return (-int(each.name), "")
    return (0 if by is UsageBy.DAY else -each.cost_usd, each.name)


def _name(by: UsageBy, session: Session, day: date, turn: TurnUsage) -> str:
    match by:
        case UsageBy.DAY:
            return day.isoformat()
        case UsageBy.USER:
            return session.spec.user_id or ""
        case UsageBy.KEY:
            return session.owner
        case UsageBy.MODEL:
            return turn.usage.name
        case UsageBy.SESSION:
            return str(session.id)
        case UsageBy.TURN:
            return str(turn.seq)


def _added(one: UsageSum, used: UsageSum) -> UsageSum:
    return UsageSum(
        one.name,
        one.turns + used.turns,
        one.input_tokens + used.input_tokens,
        one.output_tokens + used.output_tokens,
        one.cache_read_tokens + used.cache_read_tokens,
        one.cache_write_tokens + used.cache_write_tokens,
        one.cost_usd + used.cost_usd,
    )
