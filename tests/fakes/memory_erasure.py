"""The `ErasureStore` port over a `MemoryStore`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports.erasure import Erasure
from jelmore.session.errors import StaleError
from jelmore.session.events import EventDraft, EventType
from tests.fakes.memory_store import MemoryStore


class MemoryErasure:
    """Erases from the store, and keeps the proofs."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._proofs: dict[UUID, Erasure] = {}

    async def erased(self, session_id: UUID) -> Erasure | None:
        return self._proofs.get(session_id)

    async def unpublished(self, session_id: UUID) -> bool:
        return any(event.session_id == session_id for event in self._store.outbox)

    async def erase(self, session_id: UUID, by: str, elsewhere: Mapping[str, int]) -> Erasure:
        session = await self._store.load(session_id)
        if await self.unpublished(session_id):
            raise StaleError(f"session {session_id} has events that are not published yet")
        found = {**elsewhere, "sessions": 1, "output": len(self._store.outputs.get(session_id, {}))}
        await self._store.forget(session_id)
        payload = {"session_id": str(session_id), "owner": session.owner, "by": by}
        await self._store.note(EventDraft(EventType.SYSTEM_SESSION_ERASED, payload))
        remaining = dict.fromkeys(found, 0)
        self._proofs[session_id] = Erasure(session_id, session.owner, datetime.now(UTC), by, found, remaining)
        return self._proofs[session_id]
