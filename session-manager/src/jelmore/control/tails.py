"""Writes output to the hot tails in Redis, and retries what Redis did not accept, so that no tail stays behind."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.tasks import Tasks
from jelmore.ports import LiveOutput, Store, StoredOutput
from jelmore.session.errors import JelmoreError, UnknownSessionError
from jelmore.session.output import Output

_log = structlog.get_logger(__name__)

REDIS_WRITE_S: Final = 5.0
"""How long a write to Redis may take. One write may refill a whole tail."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_READ_BYTES: Final = 4 * 1024 * 1024


class Tails:
    """The hot tails of the sessions that this manager follows, with one task for each tail that is behind."""

    def __init__(self, store: Store, live: LiveOutput, redis: CircuitBreaker, tasks: Tasks) -> None:
        self._store = store
        self._live = live
        self._redis = redis
        self._tasks = tasks
        self._behind: dict[UUID, int] = {}
        """By session, the seq that the tail has to reach."""

    async def append(self, session_id: UUID, outputs: Sequence[Output]) -> bool:
        """Append stored output in Redis; return whether it is there. If not, a task adds it later."""
        if session_id not in self._behind:
            try:
                await self._append(session_id, outputs)
            except JelmoreError as error:
                _log.warning("live_output_behind", session_id=str(session_id), error=str(error))
            else:
                return True
        self.catch_up(session_id, outputs[-1].seq)
        return False

    def catch_up(self, session_id: UUID, seq: int) -> None:
        """Bring the tail up to a stored seq in the background, retrying until Redis accepts it. Returns at once."""
        if session_id not in self._behind:
            self._behind[session_id] = seq
            self._tasks.start(f"tail-{session_id}", self._catch_up(session_id))
        self._behind[session_id] = max(seq, self._behind[session_id])

    async def _catch_up(self, session_id: UUID) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            while True:
                seq = self._behind[session_id]
                try:
                    await self._bring(session_id, seq)
                except JelmoreError:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                else:
                    if self._behind[session_id] == seq:
                        return
        finally:
            del self._behind[session_id]

    async def _bring(self, session_id: UUID, seq: int) -> None:
        self._redis.require()
        try:
            session = await self._store.load(session_id)
        except UnknownSessionError:
            return
        if session.ended:
            await self._redis.call(lambda: self._live.forget(session_id), patience_s=REDIS_WRITE_S)
            return  # nothing would remove a tail written after the end of its session
        await self._append(session_id, await self._stored(session_id)(seq - 1, 1))

    async def _append(self, session_id: UUID, outputs: Sequence[Output]) -> None:
        stored = self._stored(session_id)
        await self._redis.call(lambda: self._live.append(session_id, outputs, stored), patience_s=REDIS_WRITE_S)

    def _stored(self, session_id: UUID) -> StoredOutput:
        return partial(self._store.output, session_id, max_bytes=_READ_BYTES)
