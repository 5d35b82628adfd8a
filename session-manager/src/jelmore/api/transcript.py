"""Renders a conversation as Markdown, JSON or HTML, message by message, so that its length does not matter. Pure.

The agent's text is untrusted: HTML escapes all of it and holds no script, and a fence in Markdown is longer than any in
the text.
"""

import html
import json
import re
from abc import ABC, abstractmethod
from typing import Any, Final

from jelmore.api.messages import MessageResponse
from jelmore.api.responses import SessionResponse
from jelmore_protocol.events import utc_text

_TICKS: Final = re.compile("`{3,}")
_TITLE_CHARACTERS: Final = 200

_STYLE: Final = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
article{border-left:.25rem solid #ccc;margin:1rem 0;padding:.25rem 1rem}article.user{border-color:#2a6fdb}
article.assistant{border-color:#2e8b57}header{color:#666;font-size:.85rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.25rem 0}details pre{font:.85rem/1.4 monospace}
"""


class Transcript(ABC):
    """One form of a transcript. The parts are to be sent in order: `head`, a `message` each, `tail`."""

    media_type: str
    extension: str

    @abstractmethod
    def head(self, session: SessionResponse) -> str:
        """Return what comes before the messages."""

    @abstractmethod
    def message(self, shown: MessageResponse) -> str:
        """Return one message."""

    @abstractmethod
    def tail(self) -> str:
        """Return what comes after the messages."""


class JsonTranscript(Transcript):
    """An object with `session` and `messages`, as the API returns them."""

    media_type = "application/json"
    extension = "json"

    def __init__(self) -> None:
        self._between = ""

    def head(self, session: SessionResponse) -> str:
        """Return the session and the beginning of the list."""
        return f'{{"session":{session.model_dump_json()},"messages":['

    def message(self, shown: MessageResponse) -> str:
        """Return a message, after a comma unless it is the first."""
        between, self._between = self._between, ","
        return f"{between}\n{shown.model_dump_json()}"

    def tail(self) -> str:
        """Return the end of the list."""
        return "\n]}\n"


class MarkdownTranscript(Transcript):
    """A heading per message; tools and their output in fenced blocks."""

    media_type = "text/markdown; charset=utf-8"
    extension = "md"

    def head(self, session: SessionResponse) -> str:
        """Return the title and a table of the session."""
        rows = "".join(f"| {name} | {_line(value)} |\n" for name, value in _about(session))
        return f"# {_line(_title(session))}\n\n| | |\n|---|---|\n{rows}"

    def message(self, shown: MessageResponse) -> str:
        """Return a message under a heading with its number, sender and time."""
        parts = [f"\n## {shown.seq} · {_line(shown.sender)} · {utc_text(shown.at)}\n"]
        for kind, text in _parts(shown):
            parts.append(f"\n{text}\n" if kind is None else f"\n{_line(kind)}:\n\n{_fenced(text)}\n")
        return "".join(parts)

    def tail(self) -> str:
        """Return nothing."""
        return ""


class HtmlTranscript(Transcript):
    """One page without scripts and without anything from elsewhere."""

    media_type = "text/html; charset=utf-8"
    extension = "html"

    def head(self, session: SessionResponse) -> str:
        """Return the head of the page and a table of the session."""
        title = html.escape(_title(session))
        rows = "".join(f"<tr><th>{name}<td>{html.escape(value)}" for name, value in _about(session))
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{title}</title>\n'
            f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n<table>{rows}</table>\n"
        )

    def message(self, shown: MessageResponse) -> str:
        """Return a message; what a tool was given and returned is folded."""
        head = f"{shown.seq} · {html.escape(shown.sender)} · <time>{utc_text(shown.at)}</time>"
        parts = []
        for kind, text in _parts(shown):
            pre = f"<pre>{html.escape(text)}</pre>"
            folded = "" if kind is None else f"<details><summary>{html.escape(kind)}</summary>{pre}</details>"
            parts.append(folded or pre)
        return f'<article class="{html.escape(shown.role)}"><header>{head}</header>{"".join(parts)}</article>\n'

    def tail(self) -> str:
        """Return the end of the page."""
        return "</html>\n"


FORMS: Final[dict[str, type[Transcript]]] = {
    "markdown": MarkdownTranscript,
    "json": JsonTranscript,
    "html": HtmlTranscript,
}


def wanted(shown: MessageResponse, *, tools: bool, thinking: bool) -> bool:
    """Return whether a transcript has this message."""
    kinds = {block.get("type") for block in shown.blocks}
    if not thinking and kinds == {"thinking"}:
        return False
    return tools or bool(shown.text) or not kinds <= {"tool_use", "tool_result", "server_tool_use"}


def _title(session: SessionResponse) -> str:
    title = session.title or session.query or session.id
    return title if len(title) <= _TITLE_CHARACTERS else title[:_TITLE_CHARACTERS] + "…"


def _about(session: SessionResponse) -> list[tuple[str, str]]:
    cost = f"{session.usage.turns} turns, {session.usage.cost_usd:.4f} US dollars"
    values = (
        ("session", session.id),
        ("user", session.user_id),
        ("model", session.model),
        ("created", utc_text(session.created_at)),
        ("status", session.status.value),
        ("used", cost),
    )
    return [(name, value) for name, value in values if value]


def _parts(shown: MessageResponse) -> list[tuple[str | None, str]]:
    """Return the blocks of a message as (what it is, its text); None for plain text."""
    return [_part(block) for block in shown.blocks]


def _part(block: dict[str, Any]) -> tuple[str | None, str]:
    match block.get("type"):
        case "text":
            return None, str(block.get("text") or "")
        case "thinking":
            return "thinking", str(block.get("thinking") or "")
        case "tool_use":
            return f"uses {block.get('name')}", _json(block.get("input"))
        case "tool_result":
            content = block.get("content")
            text = content if isinstance(content, str) else _json(content)
            return "failed" if block.get("is_error") else "returned", text
        case "setup_output":
            return "setup", str(block.get("text") or "")
        case kind:
            return str(kind), _json({name: value for name, value in block.items() if name != "type"})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _line(text: str) -> str:
    """Return text for a heading: on one line, with the characters escaped that Markdown would read."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    longest = max(map(len, _TICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}"
