"""The work queue. A trigger is only a session id; one task at a time works on a session."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.tasks import Tasks, was_asked_to_end
from jelmore.session.errors import JelmoreError

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 15.0
_MAX_DOUBLINGS: Final = 16
"""Of the pause. Without a bound, 2**1024 of them do not fit into a float: after 4 hours without PostgreSQL."""

_SPARE_ENTRIES: Final = 64
_SLOW_S: Final = 1.0
"""Work that lasts longer gives its slot to others: it waits for something that hangs, such as a sandbox."""

_MAX_SLOW: Final = 200


class WorkQueue:
    """Calls `work(id)` for every id added, and again after the seconds that it returns (None: not by itself).

    An id added while `work` runs for it is processed once more. Failures are retried with a growing pause. The queue
    holds one due time per session and few more entries than sessions, so it needs no other bound. `workers` sessions
    are worked on at once, and up to `_MAX_SLOW` more whose work lasts long: sessions that hang must not stop others.
    """

    def __init__(self, work: Callable[[UUID], Awaitable[float | None]], tasks: Tasks, *, workers: int = 16) -> None:
        self._work = work
        self._tasks = tasks
        self._slots = asyncio.Semaphore(workers)
        self._slow = 0
        self._due: dict[UUID, float] = {}
        self._heap: list[tuple[float, UUID]] = []
        self._busy: set[UUID] = set()
        self._failures: dict[UUID, int] = {}
        self._wake = asyncio.Event()

    def add(self, session_id: UUID, after_s: float = 0.0) -> None:
        """Process the session after `after_s` seconds at the latest."""
        due = asyncio.get_running_loop().time() + after_s
        if due < self._due.get(session_id, float("inf")):
            self._due[session_id] = due
            heapq.heappush(self._heap, (due, session_id))
            if len(self._heap) > 2 * len(self._due) + _SPARE_ENTRIES:  # most are superseded by an earlier time
                self._heap = [(due, session_id) for session_id, due in self._due.items()]
                heapq.heapify(self._heap)
            self._wake.set()

    def entries(self) -> int:
        """Return the number of entries in memory, superseded ones included."""
        return len(self._heap)

    def depth(self) -> int:
        """Return the number of sessions that are due or being processed."""
        now = asyncio.get_running_loop().time()
        return len(self._busy) + sum(1 for due in self._due.values() if due <= now)

    async def run(self) -> None:
        """Start a task for each id that is due, until cancelled."""
        while True:
            await self._slots.acquire()
            session_id = await self._next()
            self._busy.add(session_id)
            self._tasks.start(f"reconcile-{session_id}", self._one(session_id))

    async def _next(self) -> UUID:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            waiting: list[tuple[float, UUID]] = []
            found: UUID | None = None
            while self._heap:
                due, session_id = self._heap[0]
                if self._due.get(session_id) != due:
                    heapq.heappop(self._heap)  # superseded by an earlier entry, or done
                elif due > loop.time():
                    break
                elif session_id in self._busy:
                    waiting.append(heapq.heappop(self._heap))
                else:
                    heapq.heappop(self._heap)
                    del self._due[session_id]
                    found = session_id
                    break
            pause = max(self._heap[0][0] - loop.time(), 0) if self._heap else None
            for entry in waiting:  # the task that processes them sets the event when it ends
                heapq.heappush(self._heap, entry)
            if found is not None:
                return found
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    async def _one(self, session_id: UUID) -> None:
        is_slow = False

        def give_way() -> None:
            nonlocal is_slow
            if self._slow < _MAX_SLOW:
                is_slow = True
                self._slow += 1
                self._slots.release()

        timer = asyncio.get_running_loop().call_later(_SLOW_S, give_way)
        try:
            again_s = await self._work(session_id)
            self._failures.pop(session_id, None)
        except (Exception, asyncio.CancelledError) as error:  # a failure of one session must not stop the others
            if isinstance(error, asyncio.CancelledError) and was_asked_to_end():
                raise
            count = self._failures[session_id] = self._failures.get(session_id, 0) + 1
            again_s = min(_FIRST_PAUSE_S * 2 ** min(count - 1, _MAX_DOUBLINGS), _LONGEST_PAUSE_S)
            expected = isinstance(error, JelmoreError)
            _log.warning(
                "reconcile_failed",
                session_id=str(session_id),
                error=str(error) if expected else repr(error),
                again_s=again_s,
                exc_info=None if expected else error,
            )
        finally:
            timer.cancel()
            self._busy.discard(session_id)
            if is_slow:
                self._slow -= 1
            else:
                self._slots.release()
            self._wake.set()
        if again_s is not None:
            self.add(session_id, again_s)
