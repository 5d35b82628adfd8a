"""Turns before the session is there, of which nothing stays: the session's first turn is then as fast as a later one.

Claude Code's first turn in a process takes three times the processor time of a later one, because its code runs for the
first time. So it is given prompts. Their calls are refused by the runner's forwarder, as any before the session; each
turn ends with that error. Then the conversation is taken back to before the first, and the transcript, which holds
nothing else, is removed. A test compares what a session then sends, writes, reports and costs with a fresh process's.
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

TURNS: Final = 2
"""A turn took 104 ms to its first word without, 48 after one of them, 29 after two, 31 after eight (idle machine)."""

_PROMPT: Final = "hello"


class RehearsalError(Exception):
    """Something of a turn may have stayed: the process must not get a session."""


class Rehearsal:
    """Such turns of a connected process that has had no prompt. `run` is called once; the caller has a deadline."""

    def __init__(self, client: "ClaudeSDKClient", home: Path, conversation_id: str, as_agent: str | None) -> None:
        self._client = client
        self._home = home
        self._conversation_id = conversation_id
        self._as_agent = as_agent
        self._prompts = [InputRequest(id=str(uuid4()), input=_PROMPT) for _ in range(TURNS)]
        self._first = prompt_uuid(self._prompts[0].id)
        self._taken_back = asyncio.Event()  # the last line of the rehearsal is in the transcript

    def wrote(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Look at what Claude Code has written to its transcript: it comes in order, after the file has it."""
        if any(entry.get("rewound") and entry.get("cutUuid") == self._first for entry in entries):
            self._taken_back.set()

    async def run(self) -> list[Any]:
        """Have the turns, and take them back; return the messages from before them, which are of the process's start.

        Raises RehearsalError, OSError and the SDK's errors.
        """
        earlier = list[Any]()
        for prompt in self._prompts:
            await self._client.query(as_stream(prompt, prompt.input))
            earlier += await self._ended()
        # The SDK has no method for it; a test checks the pinned version.
        request = {
            "subtype": "rewind_conversation",
            "target_message_uuid": self._first,
            "last_seen_user_message_uuid": prompt_uuid(self._prompts[-1].id),  # else it takes no older one back
        }
        answer = await self._client._query._send_control_request(request)  # type: ignore[union-attr]  # noqa: SLF001
        if answer.get("rewound") is not True:
            raise RehearsalError(f"the turns were not taken back: {answer}")
        await self._taken_back.wait()
        if not await asyncio.to_thread(self.remove_transcript):
            raise RehearsalError("the transcript is not where it is looked for")
        self._client._query._last_error_result = None  # type: ignore[union-attr]  # noqa: SLF001 - else an end would report it
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

    def remove_transcript(self) -> bool:
        """Return whether there was a transcript, and remove it: with one, no other process could have this session.

        Blocks. Raises OSError.
        """
        found = transcript.find(self._home, self._conversation_id)
        if found is not None:
            remove(self._home, found.path, self._as_agent)
        return found is not None


def _state(message: object) -> str:
    """Return the state of Claude Code that a message reports, empty if it is another message."""
    data = getattr(message, "data", None)
    if not isinstance(data, dict) or data.get("subtype") != "session_state_changed":
        return ""
    return str(data.get("state"))
