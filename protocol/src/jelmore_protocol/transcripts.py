"""The agent's own transcript on its way to the database, and back to a session whose volume has lost it.

The runner keeps each entry in a file until the manager has stored it, and numbers the lines 1, 2, 3 … without a gap.
`WS /transcript?after=N` on the control socket sends every line after N; the manager answers with `stored` frames.

| frame | from | |
|---|---|---|
| `hello` | runner | `session_id`, `seq` (the newest line) |
| `transcript` | runner | a line: `seq`, `kind` (`entry` or `reset`), `data` |
| `wanted` | runner | `conversation_id`: the volume has lost its transcript; `POST /transcript` brings the stored one |
| `stored` | manager | `seq`: every line up to this one is in the database |
| `refused` | manager | `reason`: no further line of this run will be stored |
"""

from typing import Any, Final, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

from jelmore_protocol.bounds import MAX_ID_CHARACTERS

MAX_ENTRY_BYTES: Final = 16 * 1024 * 1024
"""The largest entry of a transcript: a message with its images and documents."""

MAX_TRANSCRIPT_FRAME_BYTES: Final = 2 * MAX_ENTRY_BYTES
"""The bound of a frame with an entry: quoting a text may double it."""

MAX_SUBPATH_CHARACTERS: Final = 512


class TranscriptModel(BaseModel):
    """Base of the messages. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class StoredTranscript(TranscriptModel):
    """What the database holds when a session starts. `seq` is the newest line, of any conversation."""

    seq: int = Field(default=0, ge=0)
    conversation_id: str | None = None  # the newest conversation; None: none is stored
    messages: int = Field(default=0, ge=0)  # entries of its main transcript that have a uuid


class TranscriptPart(TranscriptModel):
    """An entry: one line of a file of the agent's. `subpath` is empty for the main transcript."""

    conversation_id: str = Field(min_length=1, max_length=MAX_ID_CHARACTERS)
    subpath: str = Field(default="", max_length=MAX_SUBPATH_CHARACTERS)
    uuid: str | None = Field(default=None, max_length=MAX_ID_CHARACTERS)  # of the entry; only messages have one
    entry: str = ""  # JSON text; the manager does not read it


class TranscriptLine(TranscriptModel):
    """A numbered line. `reset` says that the whole main transcript of the conversation follows once more."""

    type: Literal["transcript"] = "transcript"
    seq: int = Field(ge=1)
    kind: Literal["entry", "reset"]
    data: TranscriptPart


class WantedTranscript(TranscriptModel):
    """The runner asks for a stored transcript."""

    type: Literal["wanted"] = "wanted"
    conversation_id: str


def prompt_uuid(input_id: str) -> str:
    """Return the uuid of an input's message in the transcript: its id if that is a UUID, else one derived from it."""
    try:
        return str(UUID(input_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"jelmore:input:{input_id}"))


def stored_frame(seq: int) -> dict[str, Any]:
    """Return the frame that says that every line up to `seq` is stored."""
    return {"type": "stored", "seq": seq}
