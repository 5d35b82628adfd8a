"""Stores journaled output that was not relayed, once the container does not run. Best effort, with limits.

Containers are untrusted, so no content of a journal may prevent a session from ending: an end without the last output
is better than no end. A failure is retried a few times at most; then the session ends without that output.
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
from jelmore.session.journal import JournalReader
from jelmore.session.output import Output
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

MAX_TRIES: Final = 3
MAX_REMEMBERED: Final = 1000
_BATCH: Final = 500
_BATCH_CHARACTERS: Final = 1024 * 1024


class Salvage:
    """Reads journals from volumes. Its memory of earlier attempts only saves work, and is bounded."""

    def __init__(self, sandboxes: Sandboxes, relays: Relays, *, within_s: float) -> None:
        """Set up; `within_s` is how many seconds one attempt may take."""
        self._sandboxes = sandboxes
        self._relays = relays
        self._within_s = within_s
        self._complete: OrderedDict[UUID, int] = OrderedDict()
        self._failed: OrderedDict[UUID, int] = OrderedDict()

    def mark_complete(self, session: Session) -> None:
        """Remember that all output of the session's present generation is stored."""
        _remember(self._complete, session.id, session.generation)

    def is_complete(self, session: Session) -> bool:
        """Return whether all output of the session's present generation is known to be stored."""
        return self._complete.get(session.id) == session.generation

    def forget(self, session_id: UUID) -> None:
        """Drop the memory of a session. May run any number of times."""
        self._complete.pop(session_id, None)
        self._failed.pop(session_id, None)

    def remembered(self) -> int:
        """Return the number of sessions in memory."""
        return len(self._complete.keys() | self._failed.keys())

    async def store_rest(self, session: Session, left_s: float | None) -> Session:
        """Store journaled output that the session lacks; return the saved session.

        `left_s` is how many seconds a requested end may still take, None when no end is requested. Raises
        DependencyError when a retry may help and there is time for it, StaleError when more than the output was changed
        meanwhile.
        """
        within_s = self._within_s if left_s is None else min(self._within_s, max(left_s, 0))
        try:
            async with asyncio.timeout(within_s):
                saved = await self._store_journal(session)
        except (DependencyError, TimeoutError) as error:
            again = left_s is None or left_s > within_s
            self._give_up_or_raise(session.id, error, again=again)
            return session
        except Exception as error:  # noqa: BLE001 - journals are untrusted: no content may prevent the end
            _log.error("journal_unreadable", session_id=str(session.id), error=repr(error))
            return session
        self._failed.pop(session.id, None)
        return unchanged_but_for_output(session, saved)

    async def _store_journal(self, session: Session) -> Session:
        """Store the journal in batches, so that an attempt that times out leaves less for the next one."""
        reader = JournalReader(session.output_seq)
        batch: list[Output] = []
        async with aclosing(self._sandboxes.journal(session.id)) as pieces:
            async for piece in pieces:
                batch += reader.feed(piece)  # takes a few milliseconds: pieces are small, and data is not parsed
                if len(batch) >= _BATCH or sum(len(output.text) for output in batch) >= _BATCH_CHARACTERS:
                    session = await self._relays.store(session, batch)
                    batch = []
                if reader.is_over:
                    break
        return await self._relays.store(session, batch) if batch else session

    def _give_up_or_raise(self, session_id: UUID, error: DependencyError | TimeoutError, *, again: bool) -> None:
        tries = self._failed.get(session_id, 0) + 1
        _remember(self._failed, session_id, tries)
        if tries < MAX_TRIES and again:
            raise error if isinstance(error, DependencyError) else DependencyError("journal", "not read in time")
        _log.error("journal_unreadable", session_id=str(session_id), error=str(error) or "not read in time")


def unchanged_but_for_output(decided: Session, now: Session) -> Session:
    """Return `now`. Raises StaleError when more than its output differs from what the step was decided on."""

    def essence(session: Session) -> tuple[object, ...]:
        return session.generation, session.wanted, session.ended, session.spec

    if essence(decided) != essence(now):
        raise StaleError(f"session {now.id} was changed while its journal was read")
    return now


def _remember(memory: "OrderedDict[UUID, int]", session_id: UUID, value: int) -> None:
    memory[session_id] = value
    memory.move_to_end(session_id)
    while len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
