"""What turns used, and budgets, in PostgreSQL. Sums by day answer everything but sums of sessions and turns."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database, fetch_row
from jelmore.drivers.postgres_rows import Row
from jelmore.ports.usage import Budget, Period, Scope, UsageBy, UsageQuery
from jelmore.session.errors import InvalidRequestError
from jelmore.session.plain_text import storable_text
from jelmore.session.usage import UsageSum

_SQL = sql.queries("usage")

_QUIET_S: Final = 10.0
"""A call that is older belongs to no turn, if none runs: a turn's end is stored with its report, within moments."""

_PRICE_USD: Final = 5e-6
"""Of an input token, while no turn has cost anything: what Anthropic asks for its largest model (list price, 2026)."""


class PostgresUsage:
    """The `UsageStore` port."""

    def __init__(self, url: str, *, connections: int = 4, timeout_s: float = 10, quiet_s: float = _QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def usage(self, query: UsageQuery) -> tuple[UsageSum, Sequence[UsageSum]]:
        """Return the sum of everything, and the sums by the wanted part; see the port."""
        values: dict[str, object] = {
            "by": query.by.value,
            "since": query.since,
            "until": query.until,
            "owner": query.owner,
        }
        text = _SQL["by_days"]
        if query.session_id is not None or query.by in {UsageBy.SESSION, UsageBy.TURN}:
            text, values["session_id"] = _SQL["by_turns"], query.session_id
        rows = await self._database.rows(text, **values, limit=query.limit)
        totals = [_sum(row, "") for row in rows if row["is_total"]]
        return totals[0] if totals else UsageSum(""), [_sum(row, row["name"]) for row in rows if not row["is_total"]]

    async def usage_totals(self) -> Sequence[UsageSum]:
        """Return the sums by model since the first turn."""
        return [_sum(row, row["model"]) for row in await self._database.rows(_SQL["totals"])]

    async def budgets(self, owner: str | None) -> Sequence[Budget]:
        """Return all budgets, or those of one key."""
        return [_budget(row) for row in await self._database.rows(_SQL["budgets"], owner=owner)]

    async def covering(self, owner: str, user_id: str | None) -> Sequence[Budget]:
        """Return the budgets that cover a session of this owner and user."""
        return [_budget(row) for row in await self._database.rows(_SQL["covering"], owner=owner, user_id=user_id)]

    async def set_budget(self, scope: Scope, subject: str, period: Period, limit_usd: float, by: str) -> None:
        """Store a budget, replacing an earlier one. Raises InvalidRequestError for text that cannot be stored."""
        if not storable_text(subject):
            raise InvalidRequestError("subject: may not contain NUL or half a surrogate pair")
        await self._database.rows(
            _SQL["set_budget"],
            scope=scope.value,
            subject=subject,
            period=period.value,
            limit_usd=limit_usd,
            updated_by=by,
        )

    async def remove_budget(self, scope: Scope, subject: str, period: Period) -> bool:
        """Remove a budget; return whether there was one."""
        if not storable_text(subject):
            return False
        values = {"scope": scope.value, "subject": subject, "period": period.value}
        return await self._database.row(_SQL["remove_budget"], **values) is not None

    async def covered(self, scope: Scope, subject: str) -> Sequence[UUID]:
        """Return the live sessions that a budget of this subject covers."""
        rows = await self._database.rows(_SQL["covered"], scope=scope.value, subject=subject)
        return [row["id"] for row in rows]

    async def limited(self) -> Sequence[UUID]:
        """Return the live sessions that have a budget, are covered by one or wait for one."""
        return [row["id"] for row in await self._database.rows(_SQL["limited"])]

    async def waiting_for_budget(self) -> int:
        """Return how many live sessions wait for a budget."""
        row = await self._database.row(_SQL["waiting"])
        return int(row[0]) if row else 0

    async def unsettled(self, limit: int) -> Sequence[UUID]:
        """Return sessions whose calls of the model have yet to be compared with what their turns reported."""
        return [row["session_id"] for row in await self._database.rows(_SQL["unsettled"], limit=limit)]

    async def settle(self, session_id: UUID) -> bool:
        """Add what the gateway metered and no turn reported to the sums; return whether they changed; see the port."""
        values = {"session_id": session_id, "quiet_s": self._quiet_s, "price_usd": _PRICE_USD}
        async with self._database.transaction() as connection:
            if await fetch_row(connection, _SQL["mark_for_settling"], session_id=session_id) is None:
                return False
            row = await fetch_row(connection, _SQL["settle"], **values)
        return row is not None and bool(row["changed"])

    async def unreported(self, session_id: UUID) -> UsageSum:
        """Return what a session used and no turn reported."""
        row = await self._database.row(_SQL["unreported"], session_id=session_id)
        return _sum(row, "") if row else UsageSum("")

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _sum(row: Row, name: str) -> UsageSum:
    return UsageSum(
        name=name,
        turns=row["turns"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_tokens=row["cache_read_tokens"],
        cache_write_tokens=row["cache_write_tokens"],
        cost_usd=row["cost_usd"],
    )


def _budget(row: Row) -> Budget:
    return Budget(
        scope=Scope(row["scope"]),
        subject=row["subject"],
        period=Period(row["period"]),
        limit_usd=row["limit_usd"],
        spent_usd=row["spent_usd"],
        updated_at=row["updated_at"],
        updated_by=row["updated_by"],
    )
