"""Keeps entries of the agent's transcript until the manager has stored them, and asks for a transcript that is missing.

The journal is what clients read; a transcript is what the agent resumes from. Both are on the volume. This copy goes to
the database, so that a lost volume does not take the conversation with it. The file holds only what is not stored yet.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from jelmore_protocol.control import Init
from jelmore_protocol.transcripts import MAX_ENTRY_BYTES
from jelmore_runner.journal_file import JournalFile, open_journal_file

MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
"""How much may wait for the manager. Beyond it, entries are refused; the next start sends all of them again."""

CHUNK_BYTES: Final = 1024 * 1024
RESTORE_DEADLINE_S: Final = 40.0
MAX_RESTORED_BYTES: Final = 2 * 1024**3


class TranscriptEntry(NamedTuple):
    """One line of the agent's file, and the id of the message in it, if it has one."""

    text: str
    uuid: str | None


class NotKeptError(Exception):
    """Entries could not be kept for the manager. The text says why."""


class Transcripts:
    """The lines that wait for the manager. Use it from one event loop."""

    def __init__(self, folder: Path) -> None:
        self.changed = asyncio.Event()  # set, and replaced, when something is new for the manager's connection
        self.wanted: str | None = None  # the conversation whose stored transcript is asked for
        self.refusal: str | None = None  # why the manager stores nothing more
        self.acknowledged = 0  # every line up to this one is stored
        self.last = 0  # the newest line
        self._folder = folder
        self._file: JournalFile | None = None
        self._messages: Counter[str] = Counter()  # of the main transcript, by conversation
        self._lock = asyncio.Lock()
        self._restored: asyncio.Future[bool] | None = None

    def open(self, init: Init) -> None:
        """Read the lines that an earlier run left. Called once, blocks. Raises OSError."""
        stored = init.transcript
        self.acknowledged = stored.seq if stored is not None else 0
        if stored is not None and stored.conversation_id is not None:
            self._messages[stored.conversation_id] = stored.messages
        self._file = open_journal_file(self._folder / "transcript.jsonl", self._count_unstored)
        self.last = max(self._file.seqs[-1] if len(self._file.seqs) else 0, self.acknowledged)

    def _count_unstored(self, line: Mapping[str, Any]) -> None:
        if line["seq"] > self.acknowledged:
            self._count(line["kind"], line["data"])

    def _count(self, kind: str, part: Mapping[str, Any]) -> None:
        conversation_id = str(part.get("conversation_id"))
        if kind == "reset":
            self._messages[conversation_id] = 0
        elif not part.get("subpath") and part.get("uuid"):
            self._messages[conversation_id] += 1

    def messages(self, conversation_id: str) -> int:
        """Return how many messages of its main transcript are stored or kept."""
        return self._messages[conversation_id]

    async def append(self, conversation_id: str, subpath: str, entries: Sequence[TranscriptEntry]) -> None:
        """Keep entries in order, all or none; return when they are on the disk. Raises NotKeptError, OSError."""
        place = {"conversation_id": conversation_id, "subpath": subpath}
        await self._add("entry", [{**place, "uuid": each.uuid, "entry": each.text} for each in entries])

    async def reset(self, conversation_id: str) -> None:
        """Say that the whole main transcript follows once more. Raises NotKeptError, OSError."""
        await self._add("reset", [{"conversation_id": conversation_id}])

    async def _add(self, kind: str, parts: Sequence[Mapping[str, Any]]) -> None:
        if any(len(part.get("entry", "")) > MAX_ENTRY_BYTES for part in parts):
            raise NotKeptError(f"an entry is larger than {MAX_ENTRY_BYTES} bytes")
        async with self._lock:
            file = self._file
            if self.refusal is not None or file is None:
                raise NotKeptError(self.refusal or "the session has not started")
            if file.size > MAX_WAITING_BYTES:
                raise NotKeptError(f"{file.size} bytes wait for the manager")
            seqs = range(self.last + 1, self.last + 1 + len(parts))
            lines = [_line(seq, kind, part) for seq, part in zip(seqs, parts, strict=True)]
            await asyncio.to_thread(file.append, b"".join(lines))
            file.extend_index(list(zip(seqs, map(len, lines), strict=True)))
            self.last += len(parts)
            for part in parts:
                self._count(kind, part)
        self.notify()

    async def read(self, after: int) -> list[tuple[int, str]]:
        """Return the next lines after `after` as (seq, text); empty when there are none yet."""
        async with self._lock:
            file = self._file
            position = file.position_after(after) if file is not None else 0
            if file is None or position == len(file.seqs):
                return []
            data = await asyncio.to_thread(file.read, position, CHUNK_BYTES)
            texts = data.decode().split("\n")[:-1]
            return list(zip(file.seqs[position : position + len(texts)], texts, strict=True))

    async def stored(self, seq: int) -> None:
        """Note that every line up to `seq` is stored. Once all are, the file is emptied. Raises OSError."""
        self.acknowledged = max(self.acknowledged, min(seq, self.last))
        async with self._lock:
            if self._file is not None and self._file.size and self.acknowledged >= self.last:
                await asyncio.to_thread(self._file.clear)
        self.notify()

    def refused(self, reason: str) -> None:
        """Keep nothing more in this run: the manager does not store it."""
        self.refusal = reason

    def notify(self) -> None:
        """Wake the manager's connection."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    # A transcript that is missing

    @property
    def staged(self) -> Path:
        """Where the stored transcript is put for the agent's part of the runner: lines of `TranscriptPart`."""
        return self._folder / "restored.jsonl"

    async def fetch(self, conversation_id: str) -> bool:
        """Ask the manager for the stored transcript; return whether it is in `staged` now."""
        self._restored = asyncio.get_running_loop().create_future()
        self.wanted = conversation_id
        self.notify()
        try:
            async with asyncio.timeout(RESTORE_DEADLINE_S):
                return await self._restored
        except TimeoutError:
            return False
        finally:
            self.wanted = self._restored = None

    async def restore(self, pieces: AsyncIterable[bytes]) -> bool:
        """Take the stored transcript. Returns False when none is asked for. Raises NotKeptError, OSError."""
        restored = self._restored
        if restored is None or restored.done():
            return False
        size = 0
        with self.staged.open("wb") as file:
            async for piece in pieces:
                size += len(piece)
                if size > MAX_RESTORED_BYTES:
                    raise NotKeptError(f"a transcript has at most {MAX_RESTORED_BYTES} bytes")
                await asyncio.to_thread(file.write, piece)
        if not restored.done():
            restored.set_result(size > 0)
        return True


def _line(seq: int, kind: str, part: Mapping[str, Any]) -> bytes:
    line = {"type": "transcript", "seq": seq, "kind": kind, "data": part}
    return json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
