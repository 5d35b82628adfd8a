"""What an operator does to a running installation: keys, changed settings, and the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from jelmore.ports.keys import ApiKey, KeyRights


@dataclass(frozen=True, slots=True)
class LiveValue:
    """A value that was changed while managers run."""

    value: Any
    changed_at: datetime
    changed_by: str
    age_s: float  # since the change, by the clock of the database, which also gave `changed_at`


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, from where. `outcome` is the HTTP status, or a word for what was done without HTTP."""

    at: datetime
    actor: str
    actor_name: str
    action: str
    target: str
    outcome: str
    remote: str
    request_id: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Filters and position of a page of the audit log, oldest first."""

    after: int
    limit: int
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None


class OperatorStore(Protocol):
    """Keys, live settings and the audit log in PostgreSQL."""

    async def make_key(
        self, key_id: str, name: str, rights: KeyRights, digest: str, *, ttl_s: float | None, created_by: str
    ) -> ApiKey:
        """Store a new key that expires after `ttl_s` (None: never); return it."""

    async def set_act_as(self, key_id: str, *, act_as: bool) -> ApiKey | None:
        """Let a client key act for every user, or no more; return it. May run twice.

        None for a key that there is not, and for one of another role or of one user.
        """

    async def rotate_key(self, key_id: str, digest: str, *, former_for_s: float) -> ApiKey | None:
        """Give a key another digest and return the key; None when there is none, or it is revoked.

        The former digest is accepted for another `former_for_s` seconds, and none from before it for longer.
        """

    async def live_settings(self) -> Mapping[str, LiveValue]:
        """Return what was changed, by name."""

    async def set_live(self, name: str, value: Any, changed_by: str) -> None:
        """Store a changed value; None goes back to the configured one. May run twice."""

    async def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries of the audit log. A call that is repeated stores them twice."""

    async def audit(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """Return at most `limit` entries with an id above `after` that match, oldest first."""

    async def trim_audit(self, max_age_s: float) -> None:
        """Remove entries older than `max_age_s`, a bounded number at once. May run any number of times."""
