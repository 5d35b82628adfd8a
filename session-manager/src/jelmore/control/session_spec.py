"""Turns a request into a record. Pure; a value out of bounds is refused by name."""

from dataclasses import dataclass, fields, replace
from datetime import datetime

from uuid_utils.compat import uuid7

from jelmore.control.requests import Caller, Changes, CreateRequest
from jelmore.session.errors import InvalidRequestError, SessionEndedError
from jelmore.session.limits import Limits, combine
from jelmore.session.record import Session, Spec, Timing
from jelmore.session.states import Wanted


@dataclass(frozen=True, slots=True)
class Defaults:
    """The deployment's choices for what a request leaves open, and its bounds."""

    limits: Limits
    ceiling: Limits
    timing: Timing
    most_live: int
    start_patience_s: float
    stop_patience_s: float


def new_session(caller: Caller, request: CreateRequest, defaults: Defaults, now: datetime) -> Session:
    """Return the record of a session that does not exist yet. Raises InvalidRequestError naming a bad value."""
    known = {field.name for field in fields(Timing)}
    for name in request.timing:
        if name not in known:
            raise InvalidRequestError(f"timing.{name}: is not a setting")
    spec = Spec(
        query=request.query or None,
        user_id=request.user_id,
        model=request.model,
        permission_mode=request.permission_mode,
        allowed_tools=request.allowed_tools,
        system_prompt=request.system_prompt,
        max_turns=request.max_turns,
        max_budget_usd=request.max_budget_usd,
        mcp_servers=request.mcp_servers,
        limits=combine(dict(request.limits), defaults.limits, defaults.ceiling),
        timing=replace(defaults.timing, **request.timing),
    )
    return Session(
        id=uuid7(),
        owner=caller.key.id,
        spec=spec,
        created_at=now,
        last_activity_at=now,
        since=now,
        title=request.title,
        metadata=request.metadata,
    )


def changed_session(session: Session, changes: Changes, defaults: Defaults) -> Session:
    """Return the session as `changes` make it.

    Raises InvalidRequestError naming a bad value, SessionEndedError for a timeout of a session that is being ended:
    it would be answered with success and have no effect.
    """
    timeouts = (changes.timeout_s, changes.idle_after_s, changes.hibernate_after_s)
    if session.wanted is Wanted.ENDED and any(value is not None for value in timeouts):
        raise SessionEndedError(session.id)
    timing, spec, limits = session.spec.timing, session.spec, session.spec.limits
    if changes.timeout_s is not None:
        timing = replace(timing, timeout_s=changes.timeout_s)
    if changes.idle_after_s is not None:
        timing = replace(timing, idle_after_s=changes.idle_after_s)
    if changes.hibernate_after_s is not None:
        timing = replace(timing, hibernate_after_s=changes.hibernate_after_s)
    if changes.workspace_bytes is not None:
        limits = combine({"workspace_bytes": changes.workspace_bytes}, limits, defaults.ceiling)
    return replace(
        session,
        title=session.title if changes.title is None else changes.title,
        metadata=session.metadata if changes.metadata is None else changes.metadata,
        # The warning named the old end; a new one comes before the new end.
        warned_at=session.warned_at if timing.timeout_s == session.spec.timing.timeout_s else None,
        archived=session.archived if changes.archived is None else changes.archived,
        spec=replace(
            spec,
            timing=timing,
            limits=limits,
            model=spec.model if changes.model is None else changes.model,
            permission_mode=spec.permission_mode if changes.permission_mode is None else changes.permission_mode,
        ),
    )
