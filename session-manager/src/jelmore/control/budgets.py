"""Enforces budgets: sends each runner the amount at which its session's inputs wait.

A runner decides by itself when a turn ends, so no input starts while the manager computes. The amount is sent again
when a turn ended, when a budget was changed and, every few seconds, in case any of this was lost. A running turn is not
interrupted, so a budget can be exceeded by one turn of each session that it covers.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults
from jelmore.control.watchers import Watchers
from jelmore.ports.usage import Budget, Period, Scope, UsageQuery, UsageStore
from jelmore.session.errors import (
    CapacityError,
    DependencyError,
    ForbiddenError,
    JelmoreError,
    StaleError,
    UnknownSessionError,
)
from jelmore.session.record import Session
from jelmore.session.states import Fact, Presence, WaitingFor, Wanted
from jelmore.session.usage import BudgetState, UsageSum, pause_at_usd
from jelmore_protocol.control import Budget as BudgetMessage

_log = structlog.get_logger(__name__)

_RETRY_S: Final = 1.0


class Budgets:
    """Budgets of sessions, keys and users. `run` is a loop of each manager, `sweep` of one of them."""

    def __init__(
        self, ports: Ports, usage: UsageStore, queue: WorkQueue, watchers: Watchers, defaults: Defaults
    ) -> None:
        self._ports = ports
        self._usage = usage
        self._queue = queue
        self._watchers = watchers
        self._defaults = defaults
        self._due: dict[UUID, None] = {}  # bounded by the number of live sessions
        self._changed = asyncio.Event()

    # --- calls of the API

    async def usage(self, caller: Caller, query: UsageQuery) -> tuple[UsageSum, Sequence[UsageSum]]:
        """Return sums of usage, of the sessions that the caller may see."""
        return await self._usage.usage(replace(query, owner=caller.sees_only))

    async def unreported(self, session_id: UUID) -> UsageSum:
        """Return what a session used and no turn of it reported. The caller has checked who asks."""
        return await self._usage.unreported(session_id)

    async def budgets(self, caller: Caller) -> Sequence[Budget]:
        """Return the budgets of keys and users that the caller may see."""
        return await self._usage.budgets(caller.sees_only)

    async def set_budget(
        self, caller: Caller, scope: Scope, subject: str, period: Period, limit_usd: float
    ) -> Sequence[Budget]:
        """Set the budget of a key or user and return all budgets. Takes effect at once, also for waiting sessions."""
        caller.check_admin()
        await self._usage.set_budget(scope, subject, period, limit_usd, caller.subject)
        _log.info("budget_set", scope=scope.value, subject=subject, period=period.value, limit_usd=limit_usd)
        await self._covered_changed(scope, subject)
        return await self._usage.budgets(None)

    async def remove_budget(self, caller: Caller, scope: Scope, subject: str, period: Period) -> bool:
        """Remove a budget; return whether there was one."""
        caller.check_admin()
        removed = await self._usage.remove_budget(scope, subject, period)
        await self._covered_changed(scope, subject)
        return removed

    async def totals(self, caller: Caller) -> tuple[Sequence[UsageSum], int]:
        """Return usage by model since the first turn, and how many sessions wait for a budget."""
        if caller.sees_only is not None:
            raise ForbiddenError("this needs an admin or readonly key")
        return await self._usage.usage_totals(), await self._usage.waiting_for_budget()

    # --- limits

    async def pause_at(self, session: Session) -> float | None:
        """Return the spending at which the session waits; None when no budget covers it."""
        return await self._limit(session, await self._usage.covering(session.owner, session.spec.user_id))

    def changed(self, session_id: UUID) -> None:
        """Look at the session's budgets soon: a turn of it ended, or its budget was changed. Does not block."""
        self._due[session_id] = None
        self._changed.set()

    async def run(self) -> None:
        """Send changed limits to runners, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            failed = []
            while self._due:
                session_id = next(iter(self._due))
                del self._due[session_id]
                try:
                    await self.apply(session_id)
                except JelmoreError as error:  # tried again below, and by the sweep
                    _log.info("budget_not_applied", session_id=str(session_id), error=str(error), code=error.code)
                    failed += [session_id] if error.retryable else []
            if failed:
                await asyncio.sleep(_RETRY_S)
                for session_id in failed:
                    self.changed(session_id)

    async def sweep(self) -> None:
        """Send every live session with a budget its limit: a new day may have started, or a message been lost."""
        for session_id in await self._usage.limited():
            self.changed(session_id)

    async def apply(self, session_id: UUID) -> None:
        """Send the session's runner its limit; resume a session that waited for a budget. May run any number of times.

        When a budget of a key or user is used up, the other sessions that it covers are looked at too.
        """
        try:
            session = await self._ports.store.load(session_id)
        except UnknownSessionError:
            return
        if session.ended or session.wanted is Wanted.ENDED:
            return
        covering = await self._usage.covering(session.owner, session.spec.user_id)
        limit = await self._limit(session, covering)
        waits = session.waiting_for is WaitingFor.BUDGET
        if session.presence is not Presence.AWAKE:
            if waits and (limit is None or session.usage.cost_usd < limit):
                await self._wake(session)
        elif session.container_id is not None and (limit is not None or waits):
            at = await self._ports.control_of(session)
            await self._ports.runners.budget(at, BudgetMessage(pause_at_usd=limit))
        if not waits:
            for budget in covering:
                if budget.spent_usd >= budget.limit_usd:
                    await self._others_of(budget, session_id)

    async def _limit(self, session: Session, covering: Sequence[Budget]) -> float | None:
        """Return the limit in terms of what the runner knows: the cost that its turns reported."""
        reported_usd, own = session.usage.cost_usd, session.spec.budget_usd
        states = [BudgetState(each.scope, each.period, each.limit_usd, each.spent_usd) for each in covering]
        if own is not None:
            unreported = await self._usage.unreported(session.id)
            states.append(BudgetState("session", "total", own, reported_usd + unreported.cost_usd))
        return pause_at_usd(reported_usd, states)

    async def _others_of(self, budget: Budget, session_id: UUID) -> None:
        """Look at the other sessions of a used-up budget, unless they wait already."""
        covered = [each for each in await self._usage.covered(budget.scope, budget.subject) if each != session_id]
        others = await self._ports.store.load_many(covered)
        for other in others.values():
            if other.waiting_for is not WaitingFor.BUDGET and other.presence is Presence.AWAKE:
                await self._hold(other)

    async def _hold(self, session: Session) -> None:
        limit = await self.pause_at(session)
        if limit is None or session.container_id is None:
            return
        try:
            at = await self._ports.control_of(session)
            await self._ports.runners.budget(at, BudgetMessage(pause_at_usd=limit))
        except DependencyError:  # it starts or ends just now: its start takes the limit, or the sweep does
            return

    async def _wake(self, session: Session) -> None:
        """Resume a paused or hibernated session, so that its inputs run. Without a free slot, a later sweep does it."""
        if self._defaults.draining:
            return
        changed, drafts = session.after(Fact.RESUMING, self._ports.clock.now())
        try:
            saved = await self._ports.store.revive(changed, drafts, most_live=self._defaults.most_live)
        except (StaleError, CapacityError):
            return
        await self._watchers.saved(saved)
        self._queue.add(session.id)

    async def _covered_changed(self, scope: Scope, subject: str) -> None:
        for session_id in await self._usage.covered(scope, subject):
            self.changed(session_id)
