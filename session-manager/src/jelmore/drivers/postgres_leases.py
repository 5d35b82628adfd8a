"""Leases in PostgreSQL: which manager does what when several share the sessions."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database

_SQL: Final = sql.queries("leases")


class PostgresLeases:
    """The `Leases` port for one holder. A holder that returns under its old name keeps its leases."""

    def __init__(self, url: str, holder: str, *, connections: int = 2, timeout_s: float = 5) -> None:
        self._holder = holder
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        """Take or renew leases; return those that we hold now."""
        if not names:
            return frozenset()
        rows = await self._database.rows(_SQL["take"], names=list(names), holder=self._holder, seconds=float(seconds))
        return frozenset(row["name"] for row in rows)

    async def give(self, names: Sequence[str]) -> None:
        """Release leases. A lease that we do not hold is success."""
        if names:
            await self._database.rows(_SQL["give"], names=list(names), holder=self._holder)

    async def elsewhere(self, name: str) -> bool:
        """Return whether another holder has the lease."""
        row = await self._database.row(_SQL["elsewhere"], name=name, holder=self._holder)
        return bool(row and row[0])

    async def unfollowed(self) -> Sequence[UUID]:
        """Return awake sessions whose runner no manager follows."""
        return [row["id"] for row in await self._database.rows(_SQL["unfollowed"])]

    async def tidy(self) -> None:
        """Remove leases that expired long ago."""
        await self._database.rows(_SQL["tidy"])

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()
