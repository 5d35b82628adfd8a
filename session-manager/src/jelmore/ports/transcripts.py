"""The agent's transcripts: where they are stored, and the connection on which a runner sends and gets them."""

from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from jelmore.session.world import ControlAddress
from jelmore_protocol.transcripts import StoredTranscript, TranscriptLine, TranscriptPart, WantedTranscript


@dataclass(frozen=True, slots=True)
class KeptTranscript:
    """What is stored of a session."""

    newest: StoredTranscript
    bytes: int = 0  # of all conversations


@dataclass(frozen=True, slots=True)
class TranscriptCut:
    """The beginning of a conversation: the lines before `before`."""

    conversation_id: str = ""
    before: int = 0
    messages: int = 0


class TranscriptStore(Protocol):
    """Transcripts in PostgreSQL. Their rows go with the record of their session."""

    async def stored(self, session_id: UUID) -> KeptTranscript:
        """Return what is stored of a session."""

    async def add(self, session_id: UUID, lines: Sequence[TranscriptLine]) -> None:
        """Store lines, in one transaction. May run twice. Lines of a session that does not exist are dropped."""

    async def keep_only(self, session_id: UUID, conversation_id: str) -> None:
        """Delete the transcripts of the session's other conversations."""

    async def page(self, session_id: UUID, conversation_id: str, after: int) -> Sequence[tuple[int, TranscriptPart]]:
        """Return the next entries after a line, with their numbers; empty at the end."""

    async def cut(self, session_id: UUID, kept: Sequence[str], dropped: Sequence[str]) -> TranscriptCut:
        """Return how much of a transcript has the prompts `kept`, and none of `dropped`, given by their uuids."""

    async def copy(self, session_id: UUID, to_session_id: UUID, cut: TranscriptCut) -> None:
        """Copy the beginning of a transcript to another session. May run twice."""

    async def close(self) -> None:
        """Release connections."""


class TranscriptChannel(Protocol):
    """An open connection to one runner."""

    async def next(self) -> Sequence[TranscriptLine] | WantedTranscript | None:
        """Return the lines that have come, or a request; None when the run has ended and everything is stored.

        Raises RelayBreak when the connection ends otherwise, DependencyError for what is no frame.
        """

    async def stored(self, seq: int) -> None:
        """Say that every line up to `seq` is stored. Raises RelayBreak."""

    async def refuse(self, reason: str) -> None:
        """Say that nothing more is stored. Raises RelayBreak."""


class TranscriptChannels(Protocol):
    """The connections to runners."""

    def opened(self, at: ControlAddress, after: int) -> AbstractAsyncContextManager[TranscriptChannel]:
        """Follow the lines after `after`. Raises DependencyError, RefusedError for a runner of an earlier image."""

    async def restore(self, at: ControlAddress, parts: AsyncIterable[bytes]) -> None:
        """Send a stored transcript: lines of `TranscriptPart`. Raises ConflictError when it is not asked for."""
