"""What the SDK's client does not offer: its child process, that process's end, and prompts as messages."""

import html
import os
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol.control import Command, InputRequest
from jelmore_protocol.transcripts import prompt_uuid
from jelmore_runner import processes

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeSDKClient

NOT_FOUND: Final = 127  # the exit code of a shell for a missing command


def read_command(said: object) -> Command | None:
    """Return a command as Claude Code describes it, None for what is none."""
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return None
    hint = said.get("argumentHint")
    described = html.unescape(str(said.get("description") or ""))
    return Command(name=said["name"], description=described, argument_hint=hint if isinstance(hint, str) else "")


async def as_stream(request: InputRequest, content: str | list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Yield the prompt as the one message that the SDK's client takes."""
    yield {
        "type": "user",
        "message": {"role": "user", "content": content},
        "parent_tool_use_id": None,
        "uuid": prompt_uuid(request.id),
        # Else Claude Code would run a slash command, and read the file of an `@path`, that a program quoted.
        "client_composed": not request.expand,
    }


async def disconnect(client: "ClaudeSDKClient") -> None:
    """Close the client. Raises nothing."""
    try:
        await client.disconnect()
    except Exception as error:  # noqa: BLE001 - signals end the process anyway; the log gets the reason
        print(f"runner: disconnect: {error!r}", flush=True)  # noqa: T201


def kill_tree(keep: int | None) -> None:
    """Kill every descendant of this process and reap what was adopted, but not `keep`."""
    processes.send(signal.SIGKILL, processes.descendants(os.getpid(), processes.TERMINALS))
    processes.reap_adopted(keep)


def process_of(client: "ClaudeSDKClient") -> Any:
    """Return the child process. The SDK has no public API for it; a test checks the pinned version."""
    return getattr(getattr(client, "_transport", None), "_process", None)


def exit_code(failure: BaseException) -> int | None:
    """Return the exit code that an error of the SDK carries, None if it carries none."""
    from claude_agent_sdk import CLINotFoundError

    if isinstance(failure, CLINotFoundError):
        return NOT_FOUND
    code = getattr(failure, "exit_code", None)
    return code if isinstance(code, int) else None
