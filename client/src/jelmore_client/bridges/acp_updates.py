"""What an editor sees of a session: output events as updates of the Agent Client Protocol. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from acp import helpers
from acp.schema import (
    AudioContentBlock,
    BlobResourceContents,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    PermissionOption,
    PlanEntry,
    PlanEntryStatus,
    ResourceContentBlock,
    StopReason,
    TextContentBlock,
    TextResourceContents,
    ToolCallLocation,
    ToolKind,
)

from jelmore_client.cli.blocks import blocks_of
from jelmore_client.models import Answer, Event, Pending, TurnResult

type Content = (
    TextContentBlock | ImageContentBlock | AudioContentBlock | ResourceContentBlock | EmbeddedResourceContentBlock
)

_KINDS: Final[dict[str, ToolKind]] = {
    "Read": "read",
    "NotebookRead": "read",
    "Edit": "edit",
    "MultiEdit": "edit",
    "Write": "edit",
    "NotebookEdit": "edit",
    "Bash": "execute",
    "Glob": "search",
    "Grep": "search",
    "WebFetch": "fetch",
    "WebSearch": "fetch",
    "Task": "think",
}
_PLAN_TOOL: Final = "TodoWrite"
_STATUSES: Final[dict[str, PlanEntryStatus]] = {"in_progress": "in_progress", "completed": "completed"}

ALLOW: Final = "allow"
ALWAYS: Final = "always"
DENY: Final = "deny"
PERMISSION_OPTIONS: Final = (
    PermissionOption(option_id=ALLOW, name="Allow", kind="allow_once"),
    PermissionOption(option_id=ALWAYS, name="Always allow in this session", kind="allow_always"),
    PermissionOption(option_id=DENY, name="Deny", kind="reject_once"),
)


class Writing:
    """What an editor was sent of the messages that are being written, by whether they are thoughts. One per turn.

    Pieces are sent as they come; of the whole message only what is still missing. Pieces may be lost when a connection
    breaks: then the whole message is sent again, on a line of its own, because what an editor has cannot be taken back.
    """

    def __init__(self) -> None:
        self._sent: dict[bool, str] = {False: "", True: ""}

    def take(self, data: dict[str, Any]) -> Iterator[helpers.SessionUpdate]:
        """Yield the update of a delta. Those of sub-agents are left out, as their messages come whole."""
        delta = _mapping(_mapping(data.get("event")).get("delta"))
        thinking = delta.get("type") == "thinking_delta"
        text = delta.get("thinking" if thinking else "text")
        if data.get("parent_tool_use_id") or not isinstance(text, str) or not text:
            return
        self._sent[thinking] += text
        yield _message(text, thinking=thinking)

    def rest(self, data: dict[str, Any]) -> str:
        """Return what is to be sent of a whole message."""
        thinking, text = bool(data.get("thinking")), str(data["text"])
        if data.get("parent_tool_use_id"):
            return text
        sent, self._sent[thinking] = self._sent[thinking], ""
        if text.startswith(sent):
            return text[len(sent) :]
        if sent.startswith(text):  # the next message has started already
            self._sent[thinking] = sent[len(text) :]
            return ""
        return f"\n\n{text}"


def _message(text: str, *, thinking: bool) -> helpers.SessionUpdate:
    return helpers.update_agent_thought_text(text) if thinking else helpers.update_agent_message_text(text)


def updates_of(
    event: Event, *, replay: bool = False, writing: Writing | None = None
) -> Iterator[helpers.SessionUpdate]:
    """Yield the updates of an event. `replay`: also what the user said, which the editor of a live turn has itself."""
    data = event.data
    match event.kind:
        case "input" if replay:
            yield helpers.update_user_message_text(str(data.get("input") or ""))
        case "said" if data.get("role") == "assistant" and data.get("text"):
            text = str(data["text"]) if writing is None else writing.rest(data)
            if text:
                yield _message(text, thinking=bool(data.get("thinking")))
        case "delta" if writing is not None:
            yield from writing.take(data)
        case "tool_used" if data.get("tool") == _PLAN_TOOL:
            yield helpers.update_plan(_plan(_mapping(data.get("input"))))
        case "tool_used":
            yield _start(event)
        case "tool_ended":
            output = str(data.get("output") or "")
            yield helpers.update_tool_call(
                str(data.get("tool_use_id")),
                status="failed" if data.get("failed") else "completed",
                content=[helpers.tool_content(helpers.text_block(output))] if output else None,
            )
        case "error":
            yield helpers.update_agent_message_text(f"{data.get('code')}: {data.get('message')}")
        case _:
            return


def _start(event: Event) -> helpers.SessionUpdate:
    tool = str(event.data.get("tool") or "tool")
    given = _mapping(event.data.get("input"))
    title = next((block.text for block in blocks_of(event) if block.style == "tool"), tool)
    path = given.get("file_path") or given.get("path")
    return helpers.start_tool_call(
        str(event.data.get("tool_use_id")),
        title,
        kind=_KINDS.get(tool, "other"),
        status="in_progress",
        content=_edit(str(path), given) if path else None,
        locations=[ToolCallLocation(path=str(path))] if path else None,
        raw_input=given,
    )


def _edit(path: str, given: dict[str, Any]) -> Sequence[helpers.ToolCallContentVariant] | None:
    if "new_string" in given:
        return [helpers.tool_diff_content(path, str(given["new_string"]), str(given.get("old_string") or ""))]
    if "content" in given:
        return [helpers.tool_diff_content(path, str(given["content"]))]
    return None


def _plan(given: dict[str, Any]) -> list[PlanEntry]:
    todos = [each for each in given.get("todos") or [] if isinstance(each, dict)]
    return [
        helpers.plan_entry(str(each.get("content")), status=_STATUSES.get(str(each.get("status")), "pending"))
        for each in todos
    ]


def blocks_of_prompt(prompt: Sequence[Content]) -> list[dict[str, Any]]:
    """Return a prompt as content blocks of Jelmore's input. Raises ValueError for a block that cannot be carried."""
    return [_block(each) for each in prompt]


def _block(block: Content) -> dict[str, Any]:
    match block:
        case TextContentBlock():
            return {"type": "text", "text": block.text}
        case ImageContentBlock():
            return _encoded("image", block.mime_type, block.data)
        case EmbeddedResourceContentBlock(resource=TextResourceContents() as resource):
            return {"type": "text", "text": f"<file uri={resource.uri!r}>\n{resource.text}\n</file>"}
        case EmbeddedResourceContentBlock(resource=BlobResourceContents() as resource):
            return _embedded(resource)
        case ResourceContentBlock():
            return {"type": "text", "text": f"[{block.name}]({block.uri})"}
        case _:
            raise ValueError(f"a prompt cannot have content of type {block.type!r}")


def _embedded(resource: BlobResourceContents) -> dict[str, Any]:
    """Return the block of an embedded file that is not text: an image or a PDF. Raises ValueError for another."""
    media_type = resource.mime_type or "application/octet-stream"
    if media_type.startswith("image/"):
        return _encoded("image", media_type, resource.blob)
    if media_type == "application/pdf":
        return _encoded("document", media_type, resource.blob)
    raise ValueError(
        f"{resource.uri} is of type {media_type}: a prompt carries text, images and PDF; "
        "'jelmore cp FILE SESSION:' puts another file into the workspace"
    )


def _encoded(kind: str, media_type: str, data: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}


def options_of(part: dict[str, Any]) -> list[PermissionOption]:
    """Return the choices of a question; the id of each is its place."""
    options = [each for each in part.get("options") or [] if isinstance(each, dict)]
    return [
        PermissionOption(option_id=str(place), name=str(each.get("label")), kind="allow_once")
        for place, each in enumerate(options)
    ]


def parts_of(pending: Pending) -> list[dict[str, Any]]:
    """Return the questions of a request; none for a permission."""
    if pending.waiting_for != "question":
        return []
    return [each for each in pending.input.get("questions") or [] if isinstance(each, dict)]


def answer_of(option_id: str) -> Answer:
    """Return the answer to a permission."""
    if option_id == DENY:
        return Answer.deny()
    return Answer.allow(always=option_id == ALWAYS)


def stop_reason(result: TurnResult, *, cancelled: bool) -> StopReason | None:
    """Return why a turn stopped; None when it failed, which is an error of the prompt."""
    if cancelled:
        return "cancelled"
    if result.ok:
        return "end_turn"
    return "max_turn_requests" if result.subtype == "error_max_turns" else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
