"""What callers ask of the control plane, and what they are answered: plain values, checked at the edge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jelmore.ports import ApiKey, Role
from jelmore.session.errors import ForbiddenError, UnknownSessionError
from jelmore.session.record import Session
from jelmore_protocol.events import Pending


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what that one may see and do."""

    key: ApiKey
    token_subject: str | None = None  # of a session token: the id of the key that it was made with

    @property
    def subject(self) -> str:
        """Return whom the record names as the author: the key, also of a token."""
        return self.token_subject or self.key.id

    @property
    def can_write(self) -> bool:
        """Return whether the caller may change anything."""
        return self.key.role is not Role.READONLY

    def may_write(self) -> None:
        """Raise ForbiddenError for a key that only looks."""
        if self.key.role is Role.READONLY:
            raise ForbiddenError("this key may look, not change")

    def must_be_admin(self) -> None:
        """Raise ForbiddenError for every other role."""
        if self.key.role is not Role.ADMIN:
            raise ForbiddenError("this needs an admin key")

    @property
    def sees_only(self) -> str | None:
        """The owner whose sessions this caller is limited to; None sees all."""
        return self.key.id if self.key.role is Role.CLIENT else None

    def sees(self, session: Session) -> Session:
        """Return the session. Raises UnknownSessionError for another's: its existence is none of their business."""
        if self.sees_only is not None and session.owner != self.sees_only:
            raise UnknownSessionError(session.id)
        return session


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A wish for a session. Unset values take the deployment's."""

    query: str | None = None
    user_id: str | None = None
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    permission_mode: str = "default"
    allowed_tools: tuple[str, ...] = ()
    system_prompt: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    mcp_servers: dict[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)  # fields of jelmore.session.limits.Limits
    timing: Mapping[str, Any] = field(default_factory=dict)  # fields of jelmore.session.record.Timing


@dataclass(frozen=True, slots=True)
class Changes:
    """A change of an existing session; None leaves a value alone."""

    title: str | None = None
    metadata: dict[str, Any] | None = None
    archived: bool | None = None
    timeout_s: float | None = None
    idle_after_s: float | None = None
    hibernate_after_s: float | None = None
    workspace_bytes: int | None = None
    model: str | None = None
    permission_mode: str | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token for a session's own URL."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Created:
    """A session as create answers it; `is_new` is false when an idempotency key found an earlier one."""

    session: Session
    token: IssuedToken
    is_new: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """An input that is journaled under `seq`.

    When the caller waited: `result` is the turn's result message, or `pending` the permission or question that stopped
    the waiting, because somebody must answer it first.
    """

    input_id: str
    seq: int
    result: Mapping[str, Any] | None = None
    pending: Pending | None = None
