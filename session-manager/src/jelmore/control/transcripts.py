"""Stores what runners send of the agent's transcripts, and hands a stored one back to a session that has lost it.

A runner forgets a line only when it is stored, and sends again what was not: this may fail at any point.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.tasks import Tasks
from jelmore.ports import ControlAddress, RelayBreak
from jelmore.ports.transcripts import TranscriptChannel, TranscriptChannels, TranscriptStore
from jelmore.session.errors import ConflictError, JelmoreError, RefusedError
from jelmore.session.record import Session
from jelmore_protocol.transcripts import StoredTranscript, WantedTranscript

_log = structlog.get_logger(__name__)

SETTLE_S: Final = 3.0
"""How long the removal of a sandbox whose agent has ended waits for the last lines."""

_SHORTEST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


class TranscriptKeeper:
    """The transcripts of the sessions that this manager follows: one task each."""

    def __init__(self, store: TranscriptStore, channels: TranscriptChannels, tasks: Tasks, *, most_bytes: int) -> None:
        """Set up; `most_bytes` is how much is stored of a session."""
        self._store = store
        self._channels = channels
        self._tasks = tasks
        self._most_bytes = most_bytes
        self._released: set[UUID] = set()

    async def stored(self, session_id: UUID) -> StoredTranscript | None:
        """Return what is stored of a session, None when nothing is."""
        newest = (await self._store.stored(session_id)).newest
        return newest if newest.conversation_id is not None else None

    async def start(self, session: Session, at: ControlAddress) -> None:
        """Follow this runner instead of an earlier one of the session."""
        await self.stop(session.id)
        self._released.discard(session.id)
        self._tasks.start(_name(session.id), self._follow(session.id, at))

    async def stop(self, session_id: UUID) -> None:
        """Stop following. Succeeds when the session is not followed."""
        await self._tasks.stop(_name(session_id))

    def release(self, session_id: UUID) -> None:
        """Stop reconnecting: the sandbox may be paused or gone. An open connection is kept until it ends."""
        if _name(session_id) in self._tasks.running():
            self._released.add(session_id)

    async def settle(self, session_id: UUID) -> None:
        """Return when the last lines of an agent that has ended are stored, after `SETTLE_S` at the latest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLE_S
        while _name(session_id) in self._tasks.running() and loop.time() < deadline:
            await asyncio.sleep(0.02)

    async def _follow(self, session_id: UUID, at: ControlAddress) -> None:
        """Store what the runner sends until its run has ended. Tries again after a failure, unless released."""
        try:
            await self._follow_patiently(session_id, at)
        finally:
            self._released.discard(session_id)

    async def _follow_patiently(self, session_id: UUID, at: ControlAddress) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while session_id not in self._released:
            try:
                kept = await self._store.stored(session_id)
                async with self._channels.opened(at, kept.newest.seq) as channel:
                    await self._take_all(session_id, at, channel, kept.bytes)
            except RefusedError as error:
                _log.info("transcript_not_followed", session_id=str(session_id), error=str(error))
                return
            except (JelmoreError, RelayBreak) as error:
                _log.info("transcript_broke", session_id=str(session_id), error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                return

    async def _take_all(
        self, session_id: UUID, at: ControlAddress, channel: TranscriptChannel, used_bytes: int
    ) -> None:
        while (item := await channel.next()) is not None:
            if isinstance(item, WantedTranscript):
                await self._hand_back(session_id, at, item.conversation_id)
                continue
            size = sum(len(line.data.entry.encode("utf-8", "replace")) for line in item)
            if used_bytes + size > self._most_bytes:  # the conversations before the newest are needed least
                await self._store.keep_only(session_id, item[-1].data.conversation_id)
                used_bytes = (await self._store.stored(session_id)).bytes
            used_bytes += size
            if used_bytes > self._most_bytes:
                await channel.refuse(f"the transcript is larger than {self._most_bytes} bytes")
                _log.warning("transcript_too_large", session_id=str(session_id), bytes=used_bytes)
                return
            await self._store.add(session_id, item)
            await channel.stored(item[-1].seq)

    async def _hand_back(self, session_id: UUID, at: ControlAddress, conversation_id: str) -> None:
        try:
            await self._channels.restore(at, self._lines(session_id, conversation_id))
        except ConflictError:  # the runner no longer waits for it
            return
        _log.info("transcript_restored", session_id=str(session_id), conversation_id=conversation_id)

    async def _lines(self, session_id: UUID, conversation_id: str) -> AsyncIterator[bytes]:
        after = 0
        while page := await self._store.page(session_id, conversation_id, after):
            for seq, part in page:
                yield part.model_dump_json().encode() + b"\n"
                after = seq


def _name(session_id: UUID) -> str:
    return f"transcript-{session_id}"
