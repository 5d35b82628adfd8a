"""What is due for an idle session: pause, hibernate, warn, end. Pure; called by `steps.next_step` alone."""

from datetime import datetime, timedelta
from typing import Final

from jelmore.session.acts import RecordFact, RequestEnd, Step, Wait, Warn
from jelmore.session.record import Detail, Session, Timing
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor, Wanted

_WITHOUT_PROCESSES: Final = frozenset({WaitingFor.PROMPT, WaitingFor.BUDGET})
"""What a session can wait for without its processes: queued inputs are in the journal."""


def idle_step(session: Session, now: datetime, *, recheck_s: float | None = None) -> Step:
    """Return what is due for an idle session (pause, hibernate, warn, end), or the wait until then.

    With `recheck_s` the session may not be idle: only its lifetime counts, and the wait is at most `recheck_s` seconds.
    """
    timing, idle_s = session.spec.timing, seconds_between(session.last_activity_at, now)
    age_s = seconds_between(session.created_at, now)
    if timing.lifetime_s and age_s >= timing.lifetime_s:
        return RequestEnd("lifetime")
    waits = [timing.lifetime_s - age_s] if timing.lifetime_s else []
    if recheck_s is not None:
        return Wait(min([recheck_s, *waits]))
    if session.status not in {SessionStatus.WAITING_INPUT, SessionStatus.IDLE}:
        return Wait(min(waits, default=None))
    waits_for_budget = session.waiting_for is WaitingFor.BUDGET  # somebody else has to act: no reason to end it
    if timing.timeout_s and not timing.hibernate_on_timeout and not waits_for_budget:
        timeout = _timeout(session, timing, now)
        if not isinstance(timeout, Wait):
            return timeout
        waits.append(timeout.seconds or 0)
    may_pause = session.status is SessionStatus.WAITING_INPUT and session.waiting_for in _WITHOUT_PROCESSES
    pause_after_s = _pause_after_s(timing)
    if may_pause and pause_after_s:
        if idle_s >= pause_after_s:
            return RecordFact(Fact.PAUSED, Detail(reason="idle"))
        waits.append(pause_after_s - idle_s)
    if session.status is SessionStatus.IDLE and session.presence is Presence.AWAKE and pause_after_s:
        awake_s = seconds_between(session.since, now)
        if awake_s >= pause_after_s:
            return RecordFact(Fact.PAUSED, Detail(reason="resumed for nothing"))
        waits.append(pause_after_s - awake_s)
    hibernate_after_s = _hibernate_after_s(session)
    if session.presence is Presence.PAUSED and hibernate_after_s:
        if idle_s >= hibernate_after_s:
            return RecordFact(Fact.HIBERNATED, Detail(reason="hibernated"))
        waits.append(hibernate_after_s - idle_s)
    return Wait(max(min(waits), 0.01) if waits else None)


def _timeout(session: Session, timing: Timing, now: datetime) -> RequestEnd | Warn | Wait:
    """Warn, then end. The full notice always passes first, even if no manager ran when the deadline passed."""
    notice_s = min(timing.warn_before_s, timing.timeout_s)
    left_s = timing.timeout_s - seconds_between(session.last_activity_at, now)
    warned_at = session.warned_at
    if warned_at is not None and warned_at < session.last_activity_at:
        warned_at = None  # the warning belongs to an earlier idle period
    if notice_s and warned_at is None:
        if left_s > notice_s:
            return Wait(left_s - notice_s)
        return Warn(expires_at=now + timedelta(seconds=max(left_s, notice_s)))
    if warned_at is not None:
        left_s = max(left_s, notice_s - seconds_between(warned_at, now))
    return Wait(left_s) if left_s > 0 else RequestEnd("idle_timeout")


def _pause_after_s(timing: Timing) -> float:
    """Return after how many idle seconds a session is paused; at most the timeout if the timeout hibernates."""
    if timing.hibernate_on_timeout and timing.timeout_s:
        return min(timing.idle_after_s or timing.timeout_s, timing.timeout_s)
    return timing.idle_after_s


def _hibernate_after_s(session: Session) -> float:
    """Return after how many idle seconds a paused session is hibernated; 0 (never) while a request is pending."""
    timing = session.spec.timing
    if session.waiting_for not in _WITHOUT_PROCESSES:
        return 0  # a pending permission or question exists only in the paused process
    if timing.hibernate_on_timeout and timing.timeout_s:
        return min(timing.hibernate_after_s or timing.timeout_s, timing.timeout_s)
    return timing.hibernate_after_s


def may_hibernate(session: Session) -> bool:
    """Return whether a session that is paused may be hibernated before it is due, and loses nothing by it."""
    ever = session.spec.timing.hibernate_after_s > 0 and session.waiting_for in _WITHOUT_PROCESSES
    return ever and session.presence is Presence.PAUSED and session.wanted is Wanted.RUNNING and not session.ended


def seconds_between(since: datetime, now: datetime) -> float:
    """Return the seconds from `since` to `now`; negative when a clock went back."""
    return (now - since).total_seconds()
