"""Reads from Claude Code's hooks which directory it works in and which files its own tools changed."""

from typing import TYPE_CHECKING, Any

from jelmore_protocol.events import EventKind
from jelmore_runner.conversation import Conversation
from jelmore_runner.file_changes import FileChangeReporter

if TYPE_CHECKING:
    from claude_agent_sdk import HookMatcher
    from claude_agent_sdk.types import HookCallback, HookEvent


class Observer:
    """A hook that journals changes of directory and files, and allows each tool call, once it may begin."""

    def __init__(self, session: Conversation, files: FileChangeReporter) -> None:
        self._session = session
        self._files = files
        self._directory = str(files.workspace)

    async def __call__(self, hook_input: Any, tool_use_id: str | None, context: Any) -> Any:  # noqa: ARG002
        """Journal a change of directory or of a file. Returns an empty result, which allows the call."""
        if isinstance(hook_input, dict):
            await self._session.journal.room()
            if hook_input.get("hook_event_name") == "PreToolUse" and self._session.before_tool is not None:
                await self._session.before_tool()
            self._report_directory(hook_input)
            if hook_input.get("hook_event_name") == "PostToolUse":
                self._report_file(hook_input)
        return {}

    def _report_directory(self, hook_input: dict[str, Any]) -> None:
        directory = hook_input.get("cwd")
        # A subagent may work elsewhere: only the directory of the main thread is reported.
        if not isinstance(directory, str) or directory == self._directory or hook_input.get("agent_id"):
            return
        self._session.note(EventKind.DIRECTORY_CHANGED, {"from": self._directory, "to": directory})
        self._directory = directory

    def _report_file(self, hook_input: dict[str, Any]) -> None:
        if hook_input.get("tool_name") not in {"Write", "Edit", "NotebookEdit"}:
            return
        response = hook_input.get("tool_response")
        given = hook_input.get("tool_input")
        response = response if isinstance(response, dict) else {}
        given = given if isinstance(given, dict) else {}
        path = response.get("filePath") or given.get("file_path") or given.get("notebook_path")
        if isinstance(path, str):
            operation = "created" if response.get("type") == "create" else "modified"
            self._files.by_tool(path, operation)


def build_hooks(observe: "HookCallback") -> "dict[HookEvent, list[HookMatcher]]":
    """Return the hooks for one process of Claude Code."""
    from claude_agent_sdk import HookMatcher

    return {"PreToolUse": [HookMatcher(hooks=[observe])], "PostToolUse": [HookMatcher(hooks=[observe])]}
