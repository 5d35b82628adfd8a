"""Takes a session back to before one of its prompts: the files, the conversation, or both."""

from collections.abc import Callable
from typing import Final

from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.rewinding import RewindRequest
from jelmore_runner.agents.base import LiveAgent
from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError
from jelmore_runner.snapshots import SnapshotError, Snapshots

_CODES: Final = {"conflict": ErrorCode.CONFLICT, "too_large": ErrorCode.CONFLICT, "no_room": ErrorCode.WORKSPACE_FULL}


async def rewind(
    conversation: Conversation, agent: Callable[[], LiveAgent], snapshots: Snapshots, wanted: RewindRequest
) -> int:
    """Rewind and return the seq of its event once durable. Inputs that come meanwhile wait, and run after it.

    Repeating the newest rewind, with no input after it, changes nothing. Raises RefusedError: a turn runs, inputs
    wait, there is no snapshot, or the conversation has no such prompt. Nothing has changed then, except that files may
    have been restored when the agent ended at the same moment; it can be repeated.
    """
    known = conversation.check_rewind(wanted)
    if known is not None:
        return known

    async def restore() -> None:
        if not wanted.files:
            return
        try:
            await snapshots.restore(wanted.to_seq)
        except SnapshotError as error:
            raise RefusedError(_CODES.get(error.code, ErrorCode.UNAVAILABLE), f"files: {error}") from None

    with conversation.rewinding():
        if wanted.conversation:
            await agent().rewind(wanted.input_id, restore)
        else:
            await restore()
        return await conversation.rewound(wanted)
