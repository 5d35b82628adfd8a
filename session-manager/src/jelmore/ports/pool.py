"""The members of the warm pool, as stored. `SessionStore.create` claims them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from jelmore.session.pool import Member, Memory, Shape


@dataclass(frozen=True, slots=True)
class Demand:
    """How many sessions hold a slot, and how many of them wait for their sandbox."""

    slots_used: int
    starting: int


class PoolStore(Protocol):
    """The members. A member has a row from before its sandbox starts until everything of it is removed or claimed."""

    async def members(self) -> Sequence[Member]:
        """Return every member, the oldest first."""

    async def add(self, member_id: UUID, shape: Shape, *, profile: str, most: int) -> Member | None:
        """Add a member that is starting; None when its profile has `most`, without those being removed."""

    async def offer(self, member_id: UUID) -> bool:
        """Mark a starting member as ready to be claimed; return False when it is not in the state starting."""

    async def confirm(self) -> None:
        """Store that all ready members answer. A member can be claimed for a minute after this only. May run twice."""

    async def retire(self, member_id: UUID) -> bool:
        """Mark a member for removal, so that it is not claimed; return False when it is claimed or retired already."""

    async def exists(self, member_id: UUID) -> bool:
        """Return whether the member has a row. A claimed one has none."""

    async def forget(self, member_id: UUID) -> None:
        """Delete the row of a retired member. Succeeds when there is none."""

    async def claims(self) -> Mapping[str, int]:
        """Return how many creates each stage has served."""

    async def demand(self) -> Demand:
        """Return what sessions need now."""

    async def close(self) -> None:
        """Release connections."""


class HostMemory(Protocol):
    """The memory of the machine on which sandboxes run."""

    def read(self) -> Memory | None:
        """Return what is available now; None when it is not known."""
