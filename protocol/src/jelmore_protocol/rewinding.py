"""`POST /rewind` on the control socket: take a session back to before one of its prompts."""

from pydantic import Field

from jelmore_protocol.bounds import MAX_SEQ, Id
from jelmore_protocol.control import Message


class RewindRequest(Message):
    """The prompt with all that follows it is taken back: from the files, from the conversation, or from both.

    `to_seq` is the seq of the `input` event of `input_id`. Answers with the seq of the event `rewound`; 409 while a
    turn runs or inputs wait, without a snapshot of the files, or when the conversation has no such prompt.
    """

    to_seq: int = Field(ge=1, le=MAX_SEQ)
    input_id: Id
    files: bool = True
    conversation: bool = True
    by: str = ""
