"""Erases an ended session: workspace, conversation, output, events and record, in every store, with a proof.

PostgreSQL comes last: while the record is there, a failed erasure can be repeated and the sweep knows the owner. Redis
is cleared once more afterwards, because a read meanwhile may have filled it again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.cache import RecordCache
from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.ports import EventBus
from jelmore.ports.erasure import Erasure, ErasureStore
from jelmore.session.errors import ConflictError, DependencyError, StaleError, UnknownSessionError
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

PATIENCE_S: Final = 30.0
"""How long an erasure waits for the sandbox to be removed, and for the last events to be published."""

_POLL_S: Final = 0.2

type EndSession = Callable[[Caller, UUID], Awaitable[Session]]
"""Ends a session and returns it once it has ended, or as it is when that takes too long."""


class Eraser:
    """Erases sessions. Each call may be repeated, also after a failure half-way."""

    def __init__(self, ports: Ports, store: ErasureStore, bus: EventBus, cache: RecordCache, end: EndSession) -> None:
        self._ports = ports
        self._store = store
        self._bus = bus
        self._cache = cache
        self._end = end

    async def erase(self, caller: Caller, session_id: UUID, *, end: bool) -> Erasure:
        """Erase the session and return the proof; of one that is erased, the proof of that erasure.

        Raises UnknownSessionError; ConflictError when it has not ended and `end` is False; DependencyError when a store
        does not answer or the session does not end in time: repeat the call.
        """
        caller.check_may_write()
        try:
            session = caller.sees(await self._ports.store.load(session_id))
        except UnknownSessionError:
            return await self._earlier(caller, session_id)
        if not session.ended and end:
            session = await self._end(caller, session_id)
            if not session.ended:
                raise DependencyError("session", f"{session_id} is still being ended; repeat the call")
        if not session.ended:
            raise ConflictError(f"session {session_id} has not ended: end it first, or repeat the call with end=true")
        return await self._erase(caller, session)

    async def _earlier(self, caller: Caller, session_id: UUID) -> Erasure:
        earlier = await self._store.erased(session_id)
        if earlier is None or (caller.sees_only is not None and earlier.owner != caller.sees_only):
            raise UnknownSessionError(session_id)
        return earlier

    async def _erase(self, caller: Caller, session: Session) -> Erasure:
        ports, session_id = self._ports, session.id
        found = {"workspace": int(await ports.sandboxes.has_workspace(session_id))}
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._erase_workspace(session_id)
                while await self._store.unpublished(session_id):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            message = f"{session_id} still has a sandbox or events that are not published; repeat the call"
            raise DependencyError("session", message) from None
        found["redis"] = int(await ports.live.tail(session_id, 0, 1) is not None)
        found["jetstream"] = await self._bus.purge(session_id)
        await self._forget(session_id)
        try:
            proof = await self._store.erase(session_id, caller.subject, found)
        except StaleError:
            raise ConflictError(f"session {session_id} was resumed meanwhile, without its workspace") from None
        await self._forget(session_id)
        _log.info("session_erased", session_id=str(session_id), owner=proof.owner, by=proof.erased_by)
        return proof

    async def _erase_workspace(self, session_id: UUID) -> None:
        """Remove what is left of the sandboxes, then the volume. An engine may still be removing the sandbox."""
        ports = self._ports
        await ports.edge.withdraw(session_id)
        while True:
            while (sandbox := await ports.sandboxes.observe(session_id)) is not None:
                await ports.sandboxes.remove(sandbox.id)
            try:
                await ports.sandboxes.erase(session_id)
            except ConflictError:
                await asyncio.sleep(_POLL_S)
            else:
                return

    async def _forget(self, session_id: UUID) -> None:
        await self._ports.live.forget(session_id)
        await self._cache.forget(session_id)
