"""The `PoolStore` and `HostMemory` ports in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import Clock, Demand
from jelmore.session.pool import Member, MemberState, Memory, Shape
from jelmore.session.states import Presence, Wanted
from tests.fakes.memory_store import MemoryStore


class MemoryPool:
    """The members of a MemoryStore, whose `create` claims them."""

    def __init__(self, store: MemoryStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock

    async def members(self) -> Sequence[Member]:
        await self._store.check()
        return list(self._store.pool.values())

    async def add(self, member_id: UUID, shape: Shape, *, profile: str, most: int) -> Member | None:
        await self._store.check()
        staying = [each for each in self._store.pool.values() if each.state is not MemberState.REMOVING]
        if sum(each.profile == profile for each in staying) >= most:
            return None
        at = self._clock.now() if self._clock else datetime.now(UTC)
        self._store.pool[member_id] = Member(member_id, MemberState.STARTING, shape, at, profile)
        return self._store.pool[member_id]

    async def offer(self, member_id: UUID) -> bool:
        await self._store.check()
        return self._change(member_id, {MemberState.STARTING}, MemberState.READY)

    async def confirm(self) -> None:
        await self._store.check()

    async def retire(self, member_id: UUID) -> bool:
        await self._store.check()
        return self._change(member_id, {MemberState.STARTING, MemberState.READY}, MemberState.REMOVING)

    def _change(self, member_id: UUID, before: set[MemberState], after: MemberState) -> bool:
        member = self._store.pool.get(member_id)
        if member is None or member.state not in before:
            return False
        self._store.pool[member_id] = replace(member, state=after)
        return True

    async def exists(self, member_id: UUID) -> bool:
        await self._store.check()
        return member_id in self._store.pool

    async def forget(self, member_id: UUID) -> None:
        await self._store.check()
        member = self._store.pool.get(member_id)
        if member is not None and member.state is MemberState.REMOVING:
            del self._store.pool[member_id]

    async def claims(self) -> Mapping[str, int]:
        await self._store.check()
        return dict(self._store.claims)

    async def demand(self) -> Demand:
        await self._store.check()
        held = [s for s in self._store.sessions.values() if not s.ended and s.presence is not Presence.HIBERNATED]
        starting = sum(s.container_id is None and s.wanted is Wanted.RUNNING for s in held)
        return Demand(len(held), starting)

    async def close(self) -> None:
        """Nothing to release."""


@dataclass
class FakeMemory:
    """A host with as much memory as a test says."""

    memory: Memory | None = None

    def read(self) -> Memory | None:
        return self.memory
