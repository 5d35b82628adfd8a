"""The agent's transcripts in PostgreSQL."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database, execute
from jelmore.ports.transcripts import KeptTranscript, TranscriptCut
from jelmore.session.plain_text import clean_text
from jelmore_protocol.transcripts import StoredTranscript, TranscriptLine, TranscriptPart

_SQL = sql.queries("transcripts")
_TIMEOUT_S: Final = 30.0


class PostgresTranscripts:
    """The `TranscriptStore` port."""

    def __init__(self, url: str, *, connections: int = 3) -> None:
        self._database = Database(url, connections=connections, timeout_s=_TIMEOUT_S)

    async def stored(self, session_id: UUID) -> KeptTranscript:
        """Return what is stored of a session; see the port."""
        row = await self._database.row(_SQL["stored"], session_id=session_id)
        if row is None or row["seq"] is None:
            return KeptTranscript(StoredTranscript())
        newest = StoredTranscript(seq=row["seq"], conversation_id=row["conversation_id"], messages=row["messages"])
        return KeptTranscript(newest, row["bytes"])

    async def add(self, session_id: UUID, lines: Sequence[TranscriptLine]) -> None:
        """Store lines in one transaction; see the port."""
        async with self._database.transaction() as connection:
            for kind, some in groupby(lines, key=lambda line: line.kind):
                group = list(some)
                if kind == "entry":
                    await execute(connection, _SQL["add"], session_id=session_id, **_columns(group))
                    continue
                for line in group:
                    where = {"conversation_id": line.data.conversation_id, "seq": line.seq}
                    await execute(connection, _SQL["reset"], session_id=session_id, **where)

    async def keep_only(self, session_id: UUID, conversation_id: str) -> None:
        """Delete the transcripts of the session's other conversations."""
        await self._database.rows(_SQL["keep_only"], session_id=session_id, conversation_id=conversation_id)

    async def page(self, session_id: UUID, conversation_id: str, after: int) -> Sequence[tuple[int, TranscriptPart]]:
        """Return the next entries of a conversation; see the port."""
        values = {"session_id": session_id, "conversation_id": conversation_id, "after": after}
        return [
            (
                row["seq"],
                TranscriptPart(
                    conversation_id=conversation_id, subpath=row["subpath"], uuid=row["uuid"], entry=row["entry"]
                ),
            )
            for row in await self._database.rows(_SQL["page"], **values)
        ]

    async def cut(self, session_id: UUID, kept: Sequence[str], dropped: Sequence[str]) -> TranscriptCut:
        """Return how much of a transcript has these prompts; see the port."""
        values = {"session_id": session_id, "kept": list(kept), "dropped": list(dropped)}
        row = await self._database.row(_SQL["cut"], **values)
        return TranscriptCut(row["conversation_id"], row["before"], row["messages"]) if row else TranscriptCut()

    async def copy(self, session_id: UUID, to_session_id: UUID, cut: TranscriptCut) -> None:
        """Copy the beginning of a transcript to another session."""
        values = {"session_id": session_id, "to_session_id": to_session_id}
        await self._database.rows(_SQL["copy"], **values, conversation_id=cut.conversation_id, before=cut.before)

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _columns(lines: Sequence[TranscriptLine]) -> dict[str, list[object]]:
    return {
        "seqs": [line.seq for line in lines],
        "conversation_ids": [line.data.conversation_id for line in lines],
        "subpaths": [line.data.subpath for line in lines],
        "uuids": [line.data.uuid for line in lines],
        "entries": [clean_text(line.data.entry) for line in lines],
    }
