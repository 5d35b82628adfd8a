"""PostgreSQL: what turns used, and budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from jelmore.session.usage import UsageSum


class UsageBy(StrEnum):
    """What usage is summed by."""

    DAY = "day"
    USER = "user"
    KEY = "key"
    MODEL = "model"
    SESSION = "session"
    TURN = "turn"


class Scope(StrEnum):
    """What a budget covers: the sessions of an API key, or those with a `user_id`."""

    KEY = "key"
    USER = "user"


class Period(StrEnum):
    """The period that a budget limits: each UTC day on its own, or the whole time."""

    DAY = "day"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage to sum: of the days `since` to `until`, both included, in UTC; of an owner, a session, or all."""

    by: UsageBy
    since: date
    until: date
    owner: str | None = None
    limit: int = 1000
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of a key or a user, with what was spent of it."""

    scope: Scope
    subject: str
    period: Period
    limit_usd: float
    spent_usd: float
    updated_at: datetime
    updated_by: str


class UsageStore(Protocol):
    """What turns used, and budgets. `SessionStore.save` writes the usage with the output that reports it."""

    async def usage(self, query: UsageQuery) -> tuple[UsageSum, Sequence[UsageSum]]:
        """Return the sum of everything, and the sums by the wanted part.

        Days are in order, turns (named by the seq of the output that ended them) the newest first, others the largest.
        What no turn reported has an empty name among the turns, and is their last.
        """

    async def usage_totals(self) -> Sequence[UsageSum]:
        """Return the sums by model since the first turn."""

    async def budgets(self, owner: str | None) -> Sequence[Budget]:
        """Return all budgets, or those of one key."""

    async def covering(self, owner: str, user_id: str | None) -> Sequence[Budget]:
        """Return the budgets that cover a session of this owner and user."""

    async def set_budget(self, scope: Scope, subject: str, period: Period, limit_usd: float, by: str) -> None:
        """Store a budget, replacing an earlier one of the same subject and period."""

    async def remove_budget(self, scope: Scope, subject: str, period: Period) -> bool:
        """Remove a budget; return whether there was one."""

    async def covered(self, scope: Scope, subject: str) -> Sequence[UUID]:
        """Return the live sessions that a budget of this subject covers."""

    async def limited(self) -> Sequence[UUID]:
        """Return the live sessions that have a budget, are covered by one or wait for one."""

    async def waiting_for_budget(self) -> int:
        """Return how many live sessions wait for a budget."""

    async def unsettled(self, limit: int) -> Sequence[UUID]:
        """Return sessions whose calls of the model have yet to be compared with what their turns reported."""

    async def settle(self, session_id: UUID) -> bool:
        """Add what the gateway metered and no turn reported to the sums; return whether they changed. May run twice.

        A turn that is still running is left out. A report that comes later makes the sums smaller again.
        """

    async def unreported(self, session_id: UUID) -> UsageSum:
        """Return what a session used and no turn reported. It is a part of the other sums."""
