"""The members of the warm pool in PostgreSQL, and their claim, which is part of the transaction of a create."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database, fetch_row
from jelmore.drivers.postgres_rows import Row
from jelmore.ports.pool import Demand
from jelmore.session.pool import Member, MemberState, Shape

_SQL = sql.queries("pool")


class PostgresPool:
    """The `PoolStore` port."""

    def __init__(self, url: str, *, connections: int = 2, timeout_s: float = 10) -> None:
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def members(self) -> Sequence[Member]:
        """Return every member, the oldest first."""
        return [_member(row) for row in await self._database.rows(_SQL["members"])]

    async def add(self, member_id: UUID, shape: Shape, *, profile: str, most: int) -> Member | None:
        """Add a member that is starting, unless there are enough; see the port."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_pool"])
            row = await fetch_row(connection, _SQL["add"], id=member_id, profile=profile, most=most, **asdict(shape))
        return None if row is None else _member(row)

    async def offer(self, member_id: UUID) -> bool:
        """Let a starting member be claimed; see the port."""
        return await self._database.row(_SQL["offer"], id=member_id) is not None

    async def confirm(self) -> None:
        """Note that all ready members are well; see the port."""
        await self._database.rows(_SQL["confirm"])

    async def retire(self, member_id: UUID) -> bool:
        """Let a member not be claimed any more; see the port."""
        return await self._database.row(_SQL["retire"], id=member_id) is not None

    async def exists(self, member_id: UUID) -> bool:
        """Return whether the member has a row."""
        row = await self._database.row(_SQL["exists"], id=member_id)
        return bool(row and row[0])

    async def forget(self, member_id: UUID) -> None:
        """Delete the row of a retired member."""
        await self._database.rows(_SQL["forget"], id=member_id)

    async def claims(self) -> Mapping[str, int]:
        """Return how many creates each stage has served."""
        return {row["stage"]: row["claims"] for row in await self._database.rows(_SQL["claims"])}

    async def demand(self) -> Demand:
        """Return what sessions need now."""
        row = await self._database.row(_SQL["demand"])
        return Demand(row["slots_used"], row["starting"]) if row else Demand(0, 0)

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _member(row: Row) -> Member:
    shape = Shape(row["recipe"], row["memory_bytes"], row["cpus"], row["pids"])
    return Member(row["id"], MemberState(row["state"]), shape, row["created_at"], row["profile"])
