"""Requests to the control plane and their results, as plain values. The API validates them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from jelmore.ports import ApiKey, Role
from jelmore.session.errors import ForbiddenError, UnknownSessionError
from jelmore.session.profiles import BUILT_IN, Profile
from jelmore.session.record import Session
from jelmore.session.states import WaitingFor
from jelmore_protocol.control import PermissionAnswer
from jelmore_protocol.events import Pending


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller, and what it may see and do."""

    key: ApiKey
    token_subject: str | None = None  # for a session token: the id of the key that it was made with
    participant: bool = False  # an invited person; `token_subject` is their id, `key` has the rights of the owner
    approver: bool = False  # an invited person who may answer but not prompt

    @property
    def subject(self) -> str:
        """Return the id recorded as the author: that of the key, also for a token made with it."""
        return self.token_subject or self.key.id

    @property
    def can_write(self) -> bool:
        """Return whether the caller may change anything."""
        return self.key.role is not Role.READONLY

    def check_may_write(self) -> None:
        """Raise ForbiddenError for a caller that may only read."""
        if not self.can_write:
            raise ForbiddenError("this key may look, not change")

    def check_may_answer(self, answer: PermissionAnswer) -> None:
        """Raise ForbiddenError for a caller that may not answer what a session waits for, or not like this.

        With another input or other rules, an approver would run what nobody has asked for.
        """
        if not self.approver:
            self.check_may_write()
            return
        changes = ("updated_input", "updated_permissions", "interrupt")
        given = next((name for name in changes if getattr(answer, name) not in (None, False, [])), None)
        if given is not None:
            raise ForbiddenError(f"{given}: an approver answers what is asked and changes nothing")

    def check_admin(self) -> None:
        """Raise ForbiddenError unless the caller is an admin."""
        if self.key.role is not Role.ADMIN:
            raise ForbiddenError("this needs an admin key")

    @property
    def sees_only(self) -> str | None:
        """The owner to whose sessions this caller is limited; None for all sessions."""
        return self.key.id if self.key.role is Role.CLIENT else None

    def user_for(self, asked: str | None) -> str | None:
        """Return the `user_id` of a session that the caller creates.

        A person who signed in at an identity provider, and a key of one user, create sessions of that user; only admins
        name others. Raises ForbiddenError.
        """
        own = self.key.user_id
        if own is not None and asked not in {None, own} and self.key.role is not Role.ADMIN:
            raise ForbiddenError("user_id: a person who signed in, and a key of one user, create sessions of that user")
        return asked if asked is not None else own

    def acts_for(self, user_id: str | None) -> bool:
        """Return whether what belongs to a user goes with the calls of a session that the caller creates.

        Their credentials and the routes that are theirs. Else the name is only a label: whoever has a key could use
        what somebody else has stored.
        """
        return user_id is not None and (self.key.role is Role.ADMIN or self.key.act_as or self.key.user_id == user_id)

    def sees(self, session: Session) -> Session:
        """Return the session. Raises UnknownSessionError for another owner's, so that its existence is not revealed."""
        if self.sees_only is not None and session.owner != self.sees_only:
            raise UnknownSessionError(session.id)
        return session


@dataclass(frozen=True, slots=True)
class WantedRepository:
    """The repository that a create asks for. `depth` 0 is the whole history; `credential` is a name."""

    url: str
    ref: str = ""
    depth: int = 0
    credential: str = ""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A request to create a session. The deployment's defaults replace unset values."""

    query: str | None = None
    user_id: str | None = None
    title: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    permission_mode: str = "default"
    allowed_tools: tuple[str, ...] = ()
    system_prompt: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    budget_usd: float | None = None
    mcp_servers: dict[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # further fields of jelmore_protocol.control.AgentOptions
    repository: WantedRepository | None = None
    base: UUID | None = None  # the session whose workspace is copied; not together with `repository`
    profile: Profile = BUILT_IN
    network: Mapping[str, Any] = field(default_factory=dict)  # `mode` and `allow`
    limits: Mapping[str, float] = field(default_factory=dict)  # fields of jelmore.session.limits.Limits
    timing: Mapping[str, Any] = field(default_factory=dict)  # fields of jelmore.session.record.Timing


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of an existing session. None leaves a value unchanged."""

    title: str | None = None
    metadata: dict[str, Any] | None = None
    archived: bool | None = None
    pinned: bool | None = None
    tags: tuple[str, ...] | None = None
    timeout_s: float | None = None
    idle_after_s: float | None = None
    hibernate_after_s: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)  # those that the runner enforces
    budget_usd: float | None = None
    model: str | None = None
    permission_mode: str | None = None
    network: Mapping[str, Any] | None = None
    answer_within_s: float | None = None
    allowed_tools: tuple[str, ...] | None = None
    system_prompt: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    mcp_servers: dict[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # those that change

    @property
    def effort(self) -> str | None:
        """The new effort, which takes effect at once."""
        return self.options.get("effort")

    @property
    def needing_restart(self) -> tuple[str, ...]:
        """The names of the changes that need a new process of the agent."""
        names = ("allowed_tools", "system_prompt", "max_turns", "max_budget_usd", "mcp_servers")
        options = (name for name in self.options if name != "effort")
        return tuple(sorted([*(name for name in names if getattr(self, name) is not None), *options]))

    @property
    def names(self) -> list[str]:
        """The names of what changes, as the API has them."""
        given = {each.name for each in fields(self) if getattr(self, each.name) not in (None, {})} - {"options"}
        return sorted("timeout_minutes" if name == "timeout_s" else name for name in {*given, *self.options})

    @property
    def bounded(self) -> dict[str, Any]:
        """The changed values that a profile may fix or bound."""
        names = ("model", "permission_mode", "allowed_tools", "system_prompt", "max_turns", "max_budget_usd")
        given: dict[str, Any] = {name: getattr(self, name) for name in (*names, "answer_within_s", "mcp_servers")}
        given["network"] = None if self.network is None else dict(self.network)
        given["limits"] = dict(self.limits) or None
        given["timeout_minutes"] = None if self.timeout_s is None else self.timeout_s / 60
        return {name: value for name, value in given.items() if value is not None} | dict(self.options)


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed session, and the changes for which its agent was started again."""

    session: Session
    restarted_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token for a session's URL."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Created:
    """The result of a create. `is_new` is False when an idempotency key found an earlier session."""

    session: Session
    token: IssuedToken
    is_new: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """An input that is journaled under `seq`.

    With `waking` it is stored in the record of a session that is being resumed; `seq` is the newest output before it.
    If the caller waited, `result` is the turn's result message, or `waiting_for` is what it needs first: an answer to
    `pending`, or a higher budget.
    """

    input_id: str
    seq: int
    result: Mapping[str, Any] | None = None
    waiting_for: WaitingFor | None = None
    pending: Pending | None = None
    waking: bool = False
