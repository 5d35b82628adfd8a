"""The SDK's `SessionStore`: what Claude Code writes to its transcript is kept for the database too.

Source: the SDK's `SessionStore` protocol. `append` comes after Claude Code has written its own file, at least once.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol.bounds import MAX_ID_CHARACTERS
from jelmore_runner.conversation import Conversation
from jelmore_runner.transcripts import NotKeptError, TranscriptEntry, Transcripts

if TYPE_CHECKING:
    from claude_agent_sdk import SessionKey, SessionStoreEntry

AGENT_METADATA: Final = "agent_metadata"


def entry_of(entry: Mapping[str, Any], text: str | None = None) -> TranscriptEntry:
    """Return an entry, with its fields in Claude Code's own order. `text` is the line it was read from, if any."""
    uuid = entry.get("uuid")
    if text is None:
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    return TranscriptEntry(text, uuid if isinstance(uuid, str) and len(uuid) <= MAX_ID_CHARACTERS else None)


class Mirror:
    """Keeps entries in `Transcripts`. It does not load: Claude Code resumes from the volume, where its settings are."""

    def __init__(self, transcripts: Transcripts, session: Conversation) -> None:
        self._transcripts = transcripts
        self._session = session
        self._reported = False

    async def append(self, key: "SessionKey", entries: "list[SessionStoreEntry]") -> None:
        """Keep the entries of one file. Raises NotKeptError or OSError; the SDK then tries again twice."""
        try:
            kept = [entry_of(entry) for entry in entries]
            await self._transcripts.append(key["session_id"], key.get("subpath") or "", kept)
        except (NotKeptError, OSError) as error:
            if not self._reported:
                self._reported = True
                self._session.error(
                    "transcript_not_stored", f"the database lacks the newest of the conversation: {error}"
                )
            raise

    async def load(self, key: "SessionKey") -> "list[SessionStoreEntry] | None":  # noqa: ARG002
        """Return None, so that the SDK does not resume in a configuration folder of its own, which has no settings."""
        return None
