"""Stores what a session journaled and nobody relayed, once its container does not run. Best effort, and bounded.

A session must be able to end whatever its journal holds: a container is hostile, and an end without its last output is
better than no end. So every failure is tried again a few times at most, and then the end goes on without that output.
"""

import asyncio
from collections import OrderedDict
from contextlib import aclosing
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.relay import Relays
from jelmore.ports import Sandboxes
from jelmore.session.errors import DependencyError, StaleError
from jelmore.session.output import JournalReader, Output
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

MOST_TRIES: Final = 3
MOST_REMEMBERED: Final = 1000
_BATCH: Final = 500
_BATCH_CHARACTERS: Final = 1024 * 1024


class Salvage:
    """Reads journals from volumes. What it remembers only saves work, and is bounded."""

    def __init__(self, sandboxes: Sandboxes, relays: Relays, *, within_s: float) -> None:
        """`within_s` is how long one try may take."""
        self._sandboxes = sandboxes
        self._relays = relays
        self._within_s = within_s
        self._complete: OrderedDict[UUID, int] = OrderedDict()
        self._failed: OrderedDict[UUID, int] = OrderedDict()

    def mark_complete(self, session: Session) -> None:
        """Remember that everything the session's present generation journaled is stored."""
        _remember(self._complete, session.id, session.generation)

    def is_complete(self, session: Session) -> bool:
        """Return whether it is known that nothing is left to store."""
        return self._complete.get(session.id) == session.generation

    def forget(self, session_id: UUID) -> None:
        """Drop what is remembered of a session. Any number of times."""
        self._complete.pop(session_id, None)
        self._failed.pop(session_id, None)

    def remembered(self) -> int:
        """Return how many sessions something is remembered of."""
        return len(self._complete.keys() | self._failed.keys())

    async def store_rest(self, session: Session, left_s: float | None) -> Session:
        """Store what the journal holds beyond the session's output; return the session as it is then.

        `left_s` is how long the end may still take, None where nobody waits for one. Raises DependencyError when
        trying again may help and there is time for it, StaleError when more than output has been recorded meanwhile.
        """
        within_s = self._within_s if left_s is None else min(self._within_s, max(left_s, 0))
        try:
            async with asyncio.timeout(within_s):
                saved = await self._store_journal(session)
        except (DependencyError, TimeoutError) as error:
            again = left_s is None or left_s > within_s
            self._give_up_or_raise(session.id, error, again=again)
            return session
        except Exception as error:  # noqa: BLE001 - the journal is a stranger's: whatever it does to a reader, the end goes on
            _log.error("journal_unreadable", session_id=str(session.id), error=repr(error))
            return session
        self._failed.pop(session.id, None)
        return unchanged_but_for_output(session, saved)

    async def _store_journal(self, session: Session) -> Session:
        """Store the journal batch by batch: a try that runs out of time leaves less for the next one."""
        reader = JournalReader(session.output_seq)
        batch: list[Output] = []
        async with aclosing(self._sandboxes.journal(session.id)) as pieces:
            async for piece in pieces:
                batch += reader.feed(piece)  # a few milliseconds: pieces are small, and data is not parsed
                if len(batch) >= _BATCH or sum(len(output.text) for output in batch) >= _BATCH_CHARACTERS:
                    session = await self._relays.store(session, batch)
                    batch = []
                if reader.is_over:
                    break
        return await self._relays.store(session, batch) if batch else session

    def _give_up_or_raise(self, session_id: UUID, error: DependencyError | TimeoutError, *, again: bool) -> None:
        tries = self._failed.get(session_id, 0) + 1
        _remember(self._failed, session_id, tries)
        if tries < MOST_TRIES and again:
            raise error if isinstance(error, DependencyError) else DependencyError("journal", "not read in time")
        _log.error("journal_unreadable", session_id=str(session_id), error=str(error) or "not read in time")


def unchanged_but_for_output(decided: Session, now: Session) -> Session:
    """Return `now`. Raises StaleError when it is no longer the session that a step was decided on."""

    def essence(session: Session) -> tuple[object, ...]:
        return session.generation, session.wanted, session.ended, session.spec

    if essence(decided) != essence(now):
        raise StaleError(f"session {now.id} was changed while its journal was read")
    return now


def _remember(memory: "OrderedDict[UUID, int]", session_id: UUID, value: int) -> None:
    memory[session_id] = value
    memory.move_to_end(session_id)
    while len(memory) > MOST_REMEMBERED:
        memory.popitem(last=False)
