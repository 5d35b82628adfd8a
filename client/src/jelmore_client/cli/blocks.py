"""What a reader sees of a session's events, as plain values: pure, so that tests need no terminal."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from jelmore_client.models import Event

type Style = Literal["user", "assistant", "thinking", "tool", "output", "diff", "asks", "note", "error", "end"]

MAX_OUTPUT_LINES: Final = 6
MAX_LINE: Final = 400
_ARGUMENTS: Final = ("command", "file_path", "path", "pattern", "url", "description", "prompt", "query")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece to print. `markdown`: the text is Markdown of the agent."""

    style: Style
    text: str
    markdown: bool = False


def blocks_of(event: "Event", *, whole: bool = False) -> Iterator[Block]:
    """Yield what to print for an event. Long output is folded, unless `whole`."""
    data = event.data
    match event.kind:
        case "input":
            yield Block("user", str(data.get("input") or ""))
        case "said" if data.get("role") == "assistant":
            style: Style = "thinking" if data.get("thinking") else "assistant"
            yield Block(style, printable(str(data.get("text") or "")), markdown=style == "assistant")
        case "tool_used":
            yield from _tool(str(data.get("tool") or "tool"), _mapping(data.get("input")), whole=whole)
        case "tool_ended":
            text = _text_of(data.get("output"))
            if text.strip():
                yield Block(
                    "error" if data.get("failed") else "output", fold(text, None if whole else MAX_OUTPUT_LINES)
                )
        case "permission_requested" | "question":
            url = _mapping(data.get("input")).get("url") if data.get("tool") == "Elicitation" else None
            title = str(data.get("title") or data.get("tool") or "the agent asks")
            yield Block("asks", printable(f"{title}\n{url}" if url else title))
        case "permission_resolved":
            by = f" by {data['by']}" if data.get("by") else ""
            rules = rules_of(data.get("updated_permissions"))
            remembered = f", and for the session: {', '.join(rules)}" if rules else ""
            yield Block("note", f"{data.get('decision', 'answered')}{by}{remembered}")
        case "turn_ended":
            yield Block("end", _turn_line(data))
        case "error":
            yield Block("error", printable(f"{data.get('code')}: {data.get('message')}"))
        case "interrupted":
            yield Block("error", f"the turn will not finish: {data.get('cause')}")
        case "rewound" | "conversation_started" | "conversation_compacted":
            yield Block("note", _turning_point(event.kind, data))
        case "setup_started" | "setup_output" | "setup_ended":
            yield from _setup(event.kind, data)
        case "exited":
            yield Block("end", f"the agent ended: {data.get('reason') or data.get('exit_code')}")
        case _:
            return


def rules_of(suggestions: Any) -> list[str]:
    """Return the rules that suggestions of a permission add, as Claude Code writes them: `Bash(ls)`."""
    found = [_mapping(each) for each in suggestions or []]
    rules = [_mapping(rule) for each in found if each.get("type") == "addRules" for rule in each.get("rules") or []]
    return [
        printable(
            f"{rule.get('toolName')}({rule['ruleContent']})" if rule.get("ruleContent") else str(rule["toolName"])
        )
        for rule in rules
        if rule.get("toolName")
    ]


def _turning_point(kind: str, data: dict[str, Any]) -> str:
    """Return what to say where the agent's memory changes."""
    if kind == "rewound":
        return f"taken back to before prompt {data.get('to_seq')}"
    if kind == "conversation_compacted":
        return "compacted: the agent continues with a summary"
    return "cleared: a new conversation" if data.get("reason") == "cleared" else "a new conversation"


def _setup(kind: str, data: dict[str, Any]) -> Iterator[Block]:
    """Yield what the setup of the session is, printed, or came to."""
    text = printable(str(data.get("text") or "")).rstrip("\n")
    if kind == "setup_started":
        yield Block("note", printable(f"setup: {data.get('file') or data.get('run')}"))
        return
    if data.get("omitted_bytes"):
        yield Block("output", f"… {data['omitted_bytes']} bytes are not kept …")
    if text:
        yield Block("output", text)
    if kind == "setup_ended":
        code = "" if data.get("exit_code") is None else f", exit code {data['exit_code']}"
        yield Block("note", printable(f"setup {data.get('outcome')}{code}"))


def printable(text: str) -> str:
    """Return `text` without control characters: output of an agent must not steer the terminal.

    Nor with characters that hide or reorder others. Spaces and emoji of all kinds stay.
    """
    return _NOT_SHOWN.sub("", text)


_NOT_SHOWN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"  # controls but newline and tab, and halves of characters
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # directions and separators
    "\xad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e00ff]"  # invisible ones
    "|(?<![^\x00-\x7f])[\u200c\u200d]"  # joiners belong to emoji and scripts; in an ASCII word they hide
)


def fold(text: str, most_lines: int | None) -> str:
    """Return `text` with long lines cut and at most `most_lines` lines, and how many are left out."""
    lines = [line[:MAX_LINE] for line in printable(text).rstrip().split("\n")]
    if most_lines is None or len(lines) <= most_lines:
        return "\n".join(lines)
    return "\n".join([*lines[:most_lines], f"… {len(lines) - most_lines} more lines"])


def _tool(tool: str, given: dict[str, Any], *, whole: bool) -> Iterator[Block]:
    subject = next((str(given[name]) for name in _ARGUMENTS if given.get(name)), "")
    yield Block("tool", printable(f"{tool} {subject}".strip()) if whole else fold(f"{tool} {subject}".strip(), 1))
    if "old_string" in given or "new_string" in given:
        old = [f"- {line}" for line in str(given.get("old_string") or "").split("\n") if line]
        new = [f"+ {line}" for line in str(given.get("new_string") or "").split("\n") if line]
        yield Block("diff", fold("\n".join([*old, *new]), None if whole else 2 * MAX_OUTPUT_LINES))
    elif tool == "Write" and given.get("content"):
        lines = "\n".join(f"+ {line}" for line in str(given["content"]).rstrip("\n").split("\n"))
        yield Block("diff", fold(lines, None if whole else MAX_OUTPUT_LINES))


def _turn_line(data: dict[str, Any]) -> str:
    usage = _mapping(data.get("usage"))
    parts = [] if data.get("outcome") == "completed" else [_failed(data.get("subtype"))]
    if isinstance(data.get("duration_ms"), int | float):
        parts.append(f"{data['duration_ms'] / 1000:.1f} s")
    tokens = sum(int(usage.get(name) or 0) for name in ("input_tokens", "output_tokens"))
    if tokens:
        parts.append(f"{tokens:,} tokens")
    if isinstance(data.get("cost_usd"), int | float) and data["cost_usd"]:
        parts.append(f"${data['cost_usd']:.4f}")
    return " · ".join(parts) or "done"


def _failed(subtype: Any) -> str:
    """Return that a turn failed. With the subtype `success` its text, which is printed already, is the error."""
    return "failed" if subtype in {None, "", "success"} else f"failed: {subtype}"


def _text_of(output: Any) -> str:
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        return "\n".join(str(each.get("text", f"[{each.get('type')}]")) for each in output if isinstance(each, dict))
    return "" if output is None else json.dumps(output, ensure_ascii=False)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
