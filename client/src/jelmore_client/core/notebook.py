"""What a notebook shows of a value, as Markdown: Jupyter and its like call `_repr_markdown_` of the last one of a cell.

Titles, prompts and names of files come from people and agents, so nothing in them is markup.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_SPECIAL: Final = {ord(each): f"&#{ord(each)};" for each in "\\`*_[]()<>&|~#!\"'$:/@."}
"""As references, which Markdown never reads as markup. With `:`, `/`, `@` and `.` no address becomes a link."""

_MOST: Final = 300


def plain(value: object) -> str:
    """Return a text of one line that shows as it is; long ones are cut."""
    text = " ".join(str(value).split())
    return (text if len(text) <= _MOST else f"{text[: _MOST - 1]}…").translate(_SPECIAL)


def facts(values: Mapping[str, object]) -> str:
    """Return a table of names and values, without those that are None or empty."""
    return table(("", ""), [(name, value) for name, value in values.items() if value not in (None, "")])


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table."""
    lines = [names, ["---"] * len(names), *([plain(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(value: Any) -> str:
    """Return a value as a block of code: a text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return "\n".join(f"    {line}" for line in text.splitlines())
