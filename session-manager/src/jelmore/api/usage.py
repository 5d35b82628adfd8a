"""Endpoints for usage and budgets."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf
from jelmore.api.fields import Body, Line
from jelmore.api.parameters import Whole
from jelmore.api.responses import UtcTime
from jelmore.ports.usage import Budget, Period, Scope, UsageBy, UsageQuery
from jelmore.session.errors import InvalidRequestError
from jelmore.session.usage import UsageSum

router = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["usage"])

_DAYS: Final = 30
_DIGITS: Final = 9
"""Digits behind the point of an amount: sums of floating point numbers have no more."""


class UsageSumResponse(BaseModel):
    """A sum of tokens and cost."""

    turns: int
    input_tokens: int = Field(description="Without those that were read from or written to the cache.")
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float = Field(description="In US dollars, as the agent reports it.")

    @classmethod
    def of(cls, total: UsageSum, **more: str) -> Self:
        """Convert a sum to its response."""
        return cls(
            turns=total.turns,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            cache_read_tokens=total.cache_read_tokens,
            cache_write_tokens=total.cache_write_tokens,
            cost_usd=round(total.cost_usd, _DIGITS),
            **more,
        )


class UsageItemResponse(UsageSumResponse):
    """The sum of one day, user, key, model, session or turn."""

    name: str = Field(
        description="The day, `user_id`, id of the key, model, id of the session, or the seq of the output that ended "
        "the turn; empty: not known, and by turn, what no turn reported."
    )


class UsageResponse(BaseModel):
    """Usage of some days, in UTC, both included."""

    by: UsageBy
    since: date
    until: date
    total: UsageSumResponse
    items: list[UsageItemResponse] = Field(
        description="Days in order, turns the newest first; others the most expensive first."
    )


@router.get("/usage", response_model=UsageResponse, name="usage")
async def usage(
    context: ContextOf,
    caller: CallerOf,
    *,
    by: UsageBy = UsageBy.DAY,
    since: Annotated[date | None, Query(alias="from", description="The first day, in UTC.")] = None,
    until: Annotated[date | None, Query(alias="to", description="The last day, in UTC. Default: today.")] = None,
    session_id: Annotated[UUID | None, Query(description="Only what this session used; needed with `by=turn`.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 1000,
) -> UsageResponse:
    """Sum tokens and cost of turns by day, user, key, model, session or turn. A client sees what its own sessions used.

    Without `from`, the 30 days up to `to`; with `session_id`, all its days. Sums stay when a session is erased, except
    those by session. 404 for a session that the caller does not see.
    """
    if session_id is not None:
        created_on = (await context.services.queries.get(caller, session_id)).created_at.astimezone(UTC).date()
        since = since or min(created_on, until or created_on)
    elif by is UsageBy.TURN:
        raise InvalidRequestError("session_id: is needed with by=turn")
    until = until or datetime.now(UTC).date()
    try:
        since = since or until - timedelta(days=_DAYS - 1)
    except OverflowError:
        since = date.min
    if since > until:
        raise InvalidRequestError("from: must not be after `to`")
    total, items = await context.services.budgets.usage(
        caller, UsageQuery(by, since, until, limit=limit, session_id=session_id)
    )
    shown = [UsageItemResponse.of(item, name=item.name) for item in items]
    return UsageResponse(by=by, since=since, until=until, total=UsageSumResponse.of(total), items=shown)


def _scope(value: Any) -> Any:
    """Return `value`. Raises ValueError for a session's own budget, which is a part of the session."""
    if value == "session":
        raise ValueError("the budget of a session is its budget_usd: set it with PATCH /api/v1/sessions/{id}")
    return value


_OfOthers: Final = BeforeValidator(_scope)


class BudgetBody(Body):
    """A budget of a key or a user. It replaces an earlier one of the same subject and period."""

    scope: Annotated[Scope, Field(strict=False), _OfOthers]
    subject: Line = Field(description="The id of the API key, or the `user_id` of sessions.")
    period: Annotated[Period, Field(strict=False)] = Field(description="`day`: each day in UTC. `total`: for ever.")
    limit_usd: float = Field(ge=0, le=1_000_000_000)


class BudgetResponse(BaseModel):
    """A budget, and what was spent of it."""

    scope: Scope
    subject: str
    period: Period
    limit_usd: float
    spent_usd: float
    updated_at: UtcTime
    updated_by: str = Field(description="The API key that set it.")


@router.get("/budgets", response_model=list[BudgetResponse], name="list_budgets")
async def list_budgets(context: ContextOf, caller: CallerOf) -> list[BudgetResponse]:
    """List the budgets of keys and users. A client sees those of its own key."""
    return [_shown(budget) for budget in await context.services.budgets.budgets(caller)]


@router.put("/budgets", response_model=BudgetResponse, name="set_budget")
async def set_budget(context: ContextOf, caller: CallerOf, body: BudgetBody) -> BudgetResponse:
    """Set the budget of a key or a user. Needs an admin key. That of one session is its `budget_usd`.

    When it is used up, no further turn begins in the sessions that it covers: their inputs wait, and they are
    `waiting_for: budget`. A running turn continues to its end. A higher budget lets them start at once.
    """
    budgets = context.services.budgets
    kept = await budgets.set_budget(caller, body.scope, body.subject, body.period, body.limit_usd)
    asked = (body.scope, body.subject, body.period)
    return next(_shown(budget) for budget in kept if (budget.scope, budget.subject, budget.period) == asked)


@router.delete("/budgets", status_code=204, name="remove_budget", response_class=Response)
async def remove_budget(
    context: ContextOf,
    caller: CallerOf,
    scope: Annotated[Scope, _OfOthers],
    subject: Annotated[str, Query(max_length=256)],
    period: Period,
) -> Response:
    """Remove a budget. Sessions that waited for it continue. Succeeds when there is none. Needs an admin key."""
    await context.services.budgets.remove_budget(caller, scope, subject, period)
    return Response(status_code=204)


def _shown(budget: Budget) -> BudgetResponse:
    return BudgetResponse(
        scope=budget.scope,
        subject=budget.subject,
        period=budget.period,
        limit_usd=budget.limit_usd,
        spent_usd=round(budget.spent_usd, _DIGITS),
        updated_at=budget.updated_at,
        updated_by=budget.updated_by,
    )
