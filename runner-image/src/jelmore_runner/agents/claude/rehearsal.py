"""A turn before the session is there, of which nothing stays: the session's first turn is then as fast as a later one.

Claude Code's first turn in a process takes three times the processor time of the next, because its code runs for the
first time. So it is given a prompt. Its call is refused by the runner's forwarder, as any before the session; the turn
ends with that error. Then the conversation is taken back to before the prompt, and the transcript, which holds nothing
else, is removed. A test compares what a session then sends, writes, reports and costs with one of a fresh process.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from jelmore_protocol.control import InputRequest
from jelmore_protocol.transcripts import prompt_uuid
from jelmore_runner.agents.claude import transcript
from jelmore_runner.agents.claude.client_process import as_stream
from jelmore_runner.agents.claude.rewind import remove

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeSDKClient

_PROMPT: Final = "hello"


class RehearsalError(Exception):
    """Something of the turn may have stayed: the process must not get a session."""


class Rehearsal:
    """One such turn of a connected process that has had no prompt. `run` is called once; the caller has a deadline."""

    def __init__(self, client: "ClaudeSDKClient", home: Path, conversation_id: str, as_agent: str | None) -> None:
        self._client = client
        self._home = home
        self._conversation_id = conversation_id
        self._as_agent = as_agent
        self._request = InputRequest(id=str(uuid4()), input=_PROMPT)
        self._uuid = prompt_uuid(self._request.id)
        self._taken_back = asyncio.Event()  # the last line of the turn is in the transcript

    def wrote(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Look at what Claude Code has written to its transcript: it comes in order, after the file has it."""
        if any(entry.get("rewound") and entry.get("cutUuid") == self._uuid for entry in entries):
            self._taken_back.set()

    async def run(self) -> list[Any]:
        """Have the turn, and take it back; return the messages from before it, which are of the process's start.

        Raises RehearsalError, OSError and the SDK's errors.
        """
        await self._client.query(as_stream(self._request, _PROMPT))
        earlier = await self._ended()
        # The SDK has no method for it; a test checks the pinned version.
        request = {"subtype": "rewind_conversation", "target_message_uuid": self._uuid}
        answer = await self._client._query._send_control_request(request)  # type: ignore[union-attr]  # noqa: SLF001
        if answer.get("rewound") is not True:
            raise RehearsalError(f"the turn was not taken back: {answer}")
        await self._taken_back.wait()
        await asyncio.to_thread(self._remove_transcript)
        return earlier

    async def _ended(self) -> list[Any]:
        """Read up to the last message of the turn; return those before its first."""
        from claude_agent_sdk import ResultMessage

        earlier, state = list[Any](), ""
        result: ResultMessage | None = None
        async for message in self._client.receive_messages():
            state = _state(message) or state
            if not state:
                earlier.append(message)
            elif isinstance(message, ResultMessage):
                result = message
            elif result is not None and state == "idle":
                if not result.is_error or result.total_cost_usd:
                    raise RehearsalError("a model has answered")
                return earlier
        raise RehearsalError("Claude Code has ended")

    def _remove_transcript(self) -> None:
        found = transcript.find(self._home, self._conversation_id)
        if found is None:
            raise RehearsalError("the turn's transcript is not where it is looked for")
        remove(self._home, found.path, self._as_agent)


def _state(message: object) -> str:
    """Return the state of Claude Code that a message reports, empty if it is another message."""
    data = getattr(message, "data", None)
    if not isinstance(data, dict) or data.get("subtype") != "session_state_changed":
        return ""
    return str(data.get("state"))
