"""PostgreSQL: what it holds of a session, and the removal of all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Erasure:
    """The proof of an erasure: how much each store held of the session, and how much it held afterwards."""

    session_id: UUID
    owner: str
    erased_at: datetime
    erased_by: str
    found: Mapping[str, int]
    remaining: Mapping[str, int]


class ErasureStore(Protocol):
    """Erases sessions. All methods may run any number of times."""

    async def erased(self, session_id: UUID) -> Erasure | None:
        """Return the proof of an earlier erasure; None when there was none."""

    async def unpublished(self, session_id: UUID) -> bool:
        """Return whether events of the session wait to be published."""

    async def erase(self, session_id: UUID, by: str, elsewhere: Mapping[str, int]) -> Erasure:
        """Delete every row of an ended session, and store the proof and the event in the same transaction.

        `elsewhere` is what the other stores held; they hold nothing of it any more. Raises UnknownSessionError;
        StaleError while the session is live or an event of it waits to be published.
        """
