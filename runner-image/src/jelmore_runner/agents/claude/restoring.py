"""Keeps the volume's transcript and the database's in step: puts a lost one back, sends one again that differs."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

from pydantic import ValidationError

from jelmore_protocol.events import EventKind
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.transcripts import MAX_TRANSCRIPT_FRAME_BYTES, StoredTranscript, TranscriptPart, prompt_uuid
from jelmore_runner.agents.claude import transcript
from jelmore_runner.agents.claude.mirror import AGENT_METADATA
from jelmore_runner.agents.claude.rewind import Cut, Rewind, find_cut, truncate
from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError
from jelmore_runner.safe_files import replaced_beneath
from jelmore_runner.transcripts import NotKeptError, Transcripts

MAX_FILES: Final = 200


class Restoring:
    """The transcript of the conversation that is about to be resumed."""

    def __init__(
        self,
        home: Path,
        folder: Path,
        session: Conversation,
        transcripts: Transcripts,
        stored: StoredTranscript | None,
        as_agent: str | None = None,
    ) -> None:
        """Set up for a conversation that is resumed in `folder`."""
        self._home = home
        self._folder = folder
        self._session = session
        self._transcripts = transcripts
        self._stored = stored
        self._as_agent = as_agent
        self._tried = False

    async def damage(self, conversation_id: str) -> str | None:
        """Return what is wrong with the transcript on the volume, if the stored one could not replace it.

        None is also returned when there is none, or it has lines that are not JSON: Claude Code itself judges that.
        """
        found = await asyncio.to_thread(transcript.find, self._home, conversation_id)
        reason = None if found is None else found.damage
        if found is not None and reason is None:
            reason = await self._send_again(conversation_id, found.path)
        if (found is None or reason is not None) and await self.restore(conversation_id, reason):
            return None
        return None if found is None else found.damage

    async def restore(self, conversation_id: str, reason: str | None) -> bool:
        """Put the stored transcript in the volume; return whether it is there now. Only the first call tries."""
        stored = self._stored
        if self._tried or stored is None or stored.conversation_id != conversation_id or not stored.messages:
            return False
        self._tried = True
        if not await self._transcripts.fetch(conversation_id):
            return False
        try:
            count = await asyncio.to_thread(self._place, conversation_id)
        except (OSError, ValidationError, ValueError) as error:
            self._session.error("transcript_not_restored", str(error))
            return False
        data = {"conversation_id": conversation_id, "messages": count, "reason": reason or "it was not in the volume"}
        self._session.spending.conversation_started()  # Claude Code's totals are not in what is stored
        self._session.note(EventKind.CONVERSATION_RESTORED, data)
        return True

    async def _send_again(self, conversation_id: str, path: PurePath) -> str | None:
        """Send a transcript that the database has not, or not all of; return what is wrong with it.

        That happens after an upgrade, when a runner was killed, and when entries could not be kept.
        """
        try:
            count = await asyncio.to_thread(transcript.count_messages, self._home, path, self._as_agent)
            if count <= self._transcripts.messages(conversation_id):
                return None
            entries = transcript.read_entries(self._home, path, self._as_agent)
            await self._transcripts.reset(conversation_id)
            while (batch := await asyncio.to_thread(next, entries, None)) is not None:
                await self._transcripts.append(conversation_id, "", batch)
        except transcript.UnreadableError as error:
            return str(error)
        except (NotKeptError, OSError) as error:
            self._session.error("transcript_not_stored", str(error))
        return None

    async def rewind(self, conversation_id: str, rewind: Rewind) -> bool:
        """Cut the transcript before a prompt, once `between` has returned; return whether any message is left.

        The database gets what is left, before the file is cut: an end in between leaves the conversation as it was.
        Raises RefusedError, also that of `between`, before anything is cut.
        """
        prompt = prompt_uuid(rewind.input_id)
        try:
            found = await asyncio.to_thread(transcript.find, self._home, conversation_id)
            if found is None or found.damage:
                raise RefusedError(ErrorCode.CONFLICT, "conversation: there is no transcript of it on the volume")
            cut = await asyncio.to_thread(find_cut, self._home, found.path, prompt, self._as_agent)
            if cut is None:
                raise RefusedError(
                    ErrorCode.CONFLICT,
                    "conversation: it has no such prompt: cleared or taken back since, or it never reached the agent",
                )
            await rewind.between()
            await self._send_beginning(conversation_id, found.path, cut)
            await asyncio.to_thread(truncate, self._home, found.path, cut.bytes, self._as_agent)
        except (OSError, transcript.UnreadableError) as error:
            raise RefusedError(ErrorCode.UNAVAILABLE, f"conversation: {error}") from None
        return cut.messages > 0

    async def _send_beginning(self, conversation_id: str, path: PurePath, cut: Cut) -> None:
        try:
            await self._transcripts.reset(conversation_id)
            left, entries = cut.lines, transcript.read_entries(self._home, path, self._as_agent)
            while left and (batch := await asyncio.to_thread(next, entries, None)) is not None:
                await self._transcripts.append(conversation_id, "", batch[:left])
                left -= len(batch[:left])
        except NotKeptError as error:
            self._session.error("transcript_not_stored", str(error))

    def _place(self, conversation_id: str) -> int:
        """Write the staged transcript to Claude Code's folder; return how many messages the main one has."""
        from claude_agent_sdk import project_key_for_directory

        project = transcript.PROJECTS / project_key_for_directory(self._folder)
        metadata: dict[str, dict[str, Any]] = {}
        count = 0
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for part in _parts(self._transcripts.staged):
                if part.subpath and (fields := _agent_metadata(part.entry)) is not None:
                    metadata[part.subpath] = fields
                    continue
                if part.subpath not in files:
                    _check_count(len(files))
                    path = project / _file_name(conversation_id, part.subpath, ".jsonl")
                    files[part.subpath] = stack.enter_context(replaced_beneath(self._home, path))
                files[part.subpath].write(part.entry.encode() + b"\n")
                count += not part.subpath and part.uuid is not None
        for subpath, fields in list(metadata.items())[:MAX_FILES]:
            path = project / _file_name(conversation_id, subpath, ".meta.json")
            with replaced_beneath(self._home, path) as file:
                file.write(json.dumps(fields).encode())
        self._transcripts.staged.unlink(missing_ok=True)
        return count


def _parts(staged: Path) -> Iterator[TranscriptPart]:
    with staged.open("rb") as lines:
        while line := lines.readline(MAX_TRANSCRIPT_FRAME_BYTES):
            yield TranscriptPart.model_validate_json(line)


def _check_count(files: int) -> None:
    if files >= MAX_FILES:
        raise ValueError(f"the stored transcript has more than {MAX_FILES} files")


def _file_name(conversation_id: str, subpath: str, ending: str) -> PurePath:
    return PurePath(f"{conversation_id}/{subpath}{ending}" if subpath else f"{conversation_id}{ending}")


def _agent_metadata(entry: str) -> dict[str, Any] | None:
    """Return the content of the file beside a sub-agent's transcript, which the SDK sends as an entry; else None."""
    if AGENT_METADATA not in entry[:200]:
        return None
    fields = json.loads(entry)
    if not isinstance(fields, dict) or fields.pop("type", None) != AGENT_METADATA:
        return None
    return fields
