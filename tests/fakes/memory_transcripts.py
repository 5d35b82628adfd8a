"""The `TranscriptStore` port in memory, for the sessions of a `MemoryStore`."""

from collections.abc import Sequence
from uuid import UUID

from jelmore.ports.transcripts import KeptTranscript, TranscriptCut
from jelmore_protocol.transcripts import StoredTranscript, TranscriptLine, TranscriptPart
from tests.fakes.memory_store import MemoryStore


class MemoryTranscripts:
    """Lines by session and number."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.lines: dict[UUID, dict[int, TranscriptPart]] = {}

    def _of(self, session_id: UUID) -> dict[int, TranscriptPart]:
        if session_id not in self._store.sessions:
            return {}
        return self.lines.setdefault(session_id, {})

    async def stored(self, session_id: UUID) -> KeptTranscript:
        lines = self._of(session_id)
        if not lines:
            return KeptTranscript(StoredTranscript())
        mains = [part for _, part in sorted(lines.items()) if not part.subpath]
        newest = mains[-1].conversation_id if mains else None
        messages = sum(part.uuid is not None for part in mains if part.conversation_id == newest)
        size = sum(len(part.entry.encode()) for part in lines.values())
        return KeptTranscript(StoredTranscript(seq=max(lines), conversation_id=newest, messages=messages), size)

    async def add(self, session_id: UUID, lines: Sequence[TranscriptLine]) -> None:
        kept = self._of(session_id)
        for line in lines:
            if line.kind == "entry":
                kept.setdefault(line.seq, line.data)
                continue
            for seq, part in list(kept.items()):
                if seq < line.seq and part.conversation_id == line.data.conversation_id and not part.subpath:
                    del kept[seq]

    async def keep_only(self, session_id: UUID, conversation_id: str) -> None:
        kept = self._of(session_id)
        for seq, part in list(kept.items()):
            if part.conversation_id != conversation_id:
                del kept[seq]

    async def page(self, session_id: UUID, conversation_id: str, after: int) -> Sequence[tuple[int, TranscriptPart]]:
        found = sorted(self._of(session_id).items())
        return [(seq, part) for seq, part in found if seq > after and part.conversation_id == conversation_id][:200]

    async def cut(self, session_id: UUID, kept: Sequence[str], dropped: Sequence[str]) -> TranscriptCut:
        mains = [(seq, part) for seq, part in sorted(self._of(session_id).items()) if not part.subpath]
        found = [part.conversation_id for _, part in mains if part.uuid in kept]
        if not found:
            return TranscriptCut()
        ours = [(seq, part) for seq, part in mains if part.conversation_id == found[-1]]
        dropped_at = min((seq for seq, part in ours if part.uuid in dropped), default=2**63 - 1)
        before_it = [seq for seq, part in ours if part.uuid is not None and seq < dropped_at]
        before = max(before_it, default=0) + 1 if dropped_at < 2**63 - 1 else dropped_at
        messages = len(before_it)
        return TranscriptCut(found[-1], before, messages)

    async def copy(self, session_id: UUID, to_session_id: UUID, cut: TranscriptCut) -> None:
        to = self._of(to_session_id)
        for seq, part in self._of(session_id).items():
            if part.conversation_id == cut.conversation_id and seq < cut.before:
                to.setdefault(seq, part)

    async def close(self) -> None:
        """Nothing to release."""
