"""Keys, live settings and the audit log in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database, execute, fetch_row, fetch_value
from jelmore.drivers.postgres_rows import key_of
from jelmore.ports import ApiKey, KeyRights
from jelmore.ports.operator import AuditEntry, AuditQuery, LiveValue
from jelmore.session.errors import FaultError
from jelmore.session.plain_text import clean_text, to_json

_SQL: Final = sql.queries("operator")
_TEXTS: Final = ("actor", "actor_name", "action", "target", "outcome", "remote", "request_id")


class PostgresOperator:
    """The `OperatorStore` port."""

    def __init__(self, url: str, *, connections: int = 2, timeout_s: float = 10) -> None:
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def make_key(
        self, key_id: str, name: str, rights: KeyRights, digest: str, *, ttl_s: float | None, created_by: str
    ) -> ApiKey:
        """Store a new key; return it."""
        row = await self._database.row(
            _SQL["make_key"],
            id=key_id,
            name=name,
            role=rights.role.value,
            user_id=rights.user_id,
            act_as=rights.act_as,
            digest=digest,
            ttl_s=ttl_s,
            created_by=created_by,
        )
        if row is None:
            raise FaultError("postgres: a new key was not stored")
        return key_of(row)

    async def set_act_as(self, key_id: str, *, act_as: bool) -> ApiKey | None:
        """Let a key act for every user, or no more; see the port."""
        row = await self._database.row(_SQL["set_act_as"], id=key_id, act_as=act_as)
        return None if row is None else key_of(row)

    async def rotate_key(self, key_id: str, digest: str, *, former_for_s: float) -> ApiKey | None:
        """Give a key another digest; see the port."""
        async with self._database.transaction() as connection:
            former = await fetch_value(connection, _SQL["digest_of"], id=key_id)
            if former is None:
                return None
            row = await fetch_row(connection, _SQL["new_digest"], id=key_id, digest=digest)
            await execute(connection, _SQL["shorten_former"], id=key_id, former_for_s=former_for_s)
            if former_for_s > 0:
                values = {"id": key_id, "former": former, "former_for_s": former_for_s}
                await execute(connection, _SQL["keep_former"], **values)
        return None if row is None else key_of(row)

    async def live_settings(self) -> Mapping[str, LiveValue]:
        """Return what was changed, by name."""
        rows = await self._database.rows(_SQL["live_settings"])
        return {
            row["name"]: LiveValue(json.loads(row["value"]), row["changed_at"], row["changed_by"], row["age_s"])
            for row in rows
        }

    async def set_live(self, name: str, value: Any, changed_by: str) -> None:
        """Store a changed value; see the port."""
        if value is None:
            await self._database.rows(_SQL["unset_live"], name=name)
        else:
            await self._database.rows(_SQL["set_live"], name=name, value=to_json(value), changed_by=changed_by)

    async def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries of the audit log."""
        texts = {f"{name}s": [clean_text(getattr(entry, name)) for entry in entries] for name in _TEXTS}
        await self._database.rows(_SQL["add_audit"], ats=[entry.at for entry in entries], **texts)

    async def audit(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """Return a page of the audit log."""
        rows = await self._database.rows(
            _SQL["audit"],
            after=query.after,
            actor=query.actor,
            action=query.action,
            since=query.since,
            limit=query.limit,
        )
        return [AuditEntry(**dict(row)) for row in rows]

    async def trim_audit(self, max_age_s: float) -> None:
        """Remove old entries."""
        await self._database.rows(_SQL["trim_audit"], max_age_s=max_age_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()
