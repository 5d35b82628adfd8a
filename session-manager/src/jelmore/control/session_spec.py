"""Turns a request into a session record. Pure; errors name the field that is out of bounds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from uuid_utils.compat import uuid7

from jelmore.control.requests import Caller, Changes, CreateRequest
from jelmore.session.errors import DrainingError, InvalidRequestError, SessionEndedError
from jelmore.session.limits import Limits, combine
from jelmore.session.network import checked_network
from jelmore.session.profiles import Profile, profile_of
from jelmore.session.record import Session, Spec, Timing
from jelmore.session.states import Wanted


@dataclass(slots=True)
class Defaults:
    """The deployment's defaults and bounds for requests. Operators change `most_live` and `draining` while it runs."""

    limits: Limits
    ceiling: Limits
    timing: Timing
    most_live: int
    start_patience_s: float
    stop_patience_s: float
    max_network: str = "none"
    package_hosts: bool = False  # whether the deployment names any
    kept_in: bool = True  # whether sandboxes reach others by the gateway only, which can ask about a connection
    draining: bool = False
    warm: Callable[[], bool] = lambda: False  # whether a create may get a member of the warm pool

    def check_not_draining(self) -> None:
        """Raise DrainingError while the installation drains."""
        if self.draining:
            raise DrainingError


def new_session(caller: Caller, request: CreateRequest, defaults: Defaults, now: datetime) -> Session:
    """Return the record of a new session. Raises InvalidRequestError naming the field that is out of bounds."""
    known = {field.name for field in fields(Timing)}
    for name in request.timing:
        if name not in known:
            raise InvalidRequestError(f"timing.{name}: is not a setting")
    user_id = caller.user_for(request.user_id)
    spec = Spec(
        query=request.query or None,
        user_id=user_id,
        acts_for_user=caller.acts_for(user_id),
        model=request.model,
        permission_mode=request.permission_mode,
        allowed_tools=request.allowed_tools,
        system_prompt=request.system_prompt,
        max_turns=request.max_turns,
        max_budget_usd=request.max_budget_usd,
        budget_usd=request.budget_usd,
        mcp_servers=request.mcp_servers,
        options=dict(request.options),
        network=_network(request.network, request.profile, defaults),
        profile=request.profile.name,
        bounds=request.profile.snapshot(),
        limits=limits_of(request, defaults),
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
        tags=request.tags,
        metadata=request.metadata,
    )


def limits_of(request: CreateRequest, defaults: Defaults) -> Limits:
    """Return the limits of a new session. Raises InvalidRequestError naming a value out of bounds."""
    return combine(dict(request.limits), _lowered(defaults.limits, request.profile), defaults.ceiling)


_OUTPUT: Final = ("output_bytes", "output_bytes_per_s")


def changed_session(session: Session, changes: Changes, defaults: Defaults) -> Session:
    """Return the session with `changes` applied.

    Raises InvalidRequestError naming the field that is out of bounds. Raises SessionEndedError for a change of the
    timeout of a session that is ending, because it would have no effect.
    """
    timeouts = (changes.timeout_s, changes.idle_after_s, changes.hibernate_after_s)
    if session.wanted is Wanted.ENDED and any(value is not None for value in timeouts):
        raise SessionEndedError(session.id)
    timing, spec, limits = session.spec.timing, session.spec, session.spec.limits
    profile_of(spec.profile, spec.bounds).check_change(changes.bounded)
    if changes.answer_within_s is not None:
        timing = replace(timing, answer_within_s=changes.answer_within_s)
    if changes.timeout_s is not None:
        timing = replace(timing, timeout_s=changes.timeout_s)
    if changes.idle_after_s is not None:
        timing = replace(timing, idle_after_s=changes.idle_after_s)
    if changes.hibernate_after_s is not None:
        timing = replace(timing, hibernate_after_s=changes.hibernate_after_s)
    if changes.network is not None:
        network = _network(changes.network, profile_of(spec.profile, spec.bounds), defaults)
        spec = replace(spec, network=network)
    if changes.limits:
        # 0, in sessions stored by older code, means the deployment's default.
        unset = {name: getattr(defaults.limits, name) for name in _OUTPUT if not getattr(limits, name)}
        limits = combine(dict(changes.limits), replace(limits, **unset), defaults.ceiling)
    return replace(
        session,
        title=session.title if changes.title is None else changes.title,
        metadata=session.metadata if changes.metadata is None else changes.metadata,
        # The last warning named the old end; let a new one precede the new end.
        warned_at=session.warned_at if timing.timeout_s == session.spec.timing.timeout_s else None,
        archived=session.archived if changes.archived is None else changes.archived,
        pinned=session.pinned if changes.pinned is None else changes.pinned,
        tags=session.tags if changes.tags is None else changes.tags,
        spec=replace(
            spec,
            timing=timing,
            limits=limits,
            options={**spec.options, **changes.options},
            **_changed_fields(changes),
        ),
    )


def _network(asked: Mapping[str, Any], profile: Profile, defaults: Defaults) -> dict[str, Any]:
    """Return what the session may reach. Raises InvalidRequestError."""
    profile.check({"network": dict(asked)})
    return checked_network(asked, defaults.max_network, packages=defaults.package_hosts, kept_in=defaults.kept_in)


def _lowered(limits: Limits, profile: Profile) -> Limits:
    """Return the default limits, lowered to the ceiling of the profile."""
    most = {each.name: getattr(profile.ceiling, each.name) for each in fields(Limits)}
    lower = {name: value for name, value in most.items() if value is not None and value < getattr(limits, name)}
    whole = {name: value if name == "cpus" else int(value) for name, value in lower.items()}
    return replace(limits, **whole)


def _changed_fields(changes: Changes) -> dict[str, Any]:
    """Return the fields of the spec that a change replaces as a whole."""
    texts = ("model", "permission_mode", "allowed_tools", "system_prompt")
    numbers = ("max_turns", "max_budget_usd", "budget_usd")
    return {name: value for name in (*texts, *numbers, "mcp_servers") if (value := getattr(changes, name)) is not None}
