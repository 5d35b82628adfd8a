"""Prints blocks and tables on a terminal, or as plain text where there is none or NO_COLOR is set."""

import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jelmore_client.cli.blocks import printable

if TYPE_CHECKING:
    from jelmore_client.cli.blocks import Block
    from jelmore_client.models import SessionInfo

_STYLES: Final[dict[str, tuple[str, str]]] = {
    "user": ("> ", "bold cyan"),
    "assistant": ("", ""),
    "thinking": ("", "dim italic"),
    "tool": ("● ", "green"),
    "output": ("  ", "dim"),
    "diff": ("  ", ""),
    "asks": ("? ", "bold yellow"),
    "note": ("  ", "dim"),
    "error": ("! ", "red"),
    "end": ("─ ", "dim"),
}


_LATE_CONTROLS: Final = re.compile("[\x7f-\x9f]")
_SHOWN_NAMES: Final = 5
_LEAST_CELLS: Final = 12
"""A column is not cut below this width; a narrower terminal breaks the lines."""


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    # JSON writes the first 32 control characters out; some terminals obey those from 0x7f on as well.
    print(_LATE_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))  # noqa: T201 - a command talks to a person


def print_text(text: str) -> None:
    """Print what an agent wrote: as it is into a file or a pipe, without control characters on a terminal."""
    print(printable(text) if sys.stdout.isatty() else text)  # noqa: T201 - the result of a command


def say(text: str) -> None:
    """Print a line on standard error: progress and hints, never results."""
    print(printable(text), file=sys.stderr)  # noqa: T201


class Printer:
    """Prints blocks on standard output. rich is imported only for a terminal."""

    def __init__(self) -> None:
        self._console: Any = None
        if sys.stdout.isatty():
            from rich.console import Console

            self._console = Console(highlight=False)

    def block(self, block: "Block") -> None:
        """Print one block. Control characters are left out, whoever wrote them."""
        sign, shown = _STYLES[block.style]
        block = replace(block, text=printable(block.text))
        if self._console is None:
            for index, line in enumerate(block.text.split("\n")):
                print(f"{' ' * len(sign) if index else sign}{line}", flush=True)  # noqa: T201
            return
        if block.markdown:
            from rich.markdown import Markdown

            self._console.print(Markdown(block.text, hyperlinks=False))
            return
        from rich.text import Text

        for index, line in enumerate(block.text.split("\n")):
            style = shown
            if block.style == "diff":
                style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
            self._console.print(Text(f"{sign if not index else ' ' * len(sign)}{line}", style=style))


def print_sessions(sessions: Iterable["SessionInfo"]) -> None:
    """Print a table of sessions."""
    rows = [
        (
            short(each.id),
            state_of(each),
            age(each.last_activity),
            each.title or _first_line(each.query),
            f"{each.usage.turns}",
        )
        for each in sessions
    ]
    print_table(("ID", "STATE", "ACTIVE", "TITLE", "TURNS"), rows, shorten=3)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, shorten: int | None = None) -> None:
    """Print columns aligned by their widest value. A value is one line without control characters.

    On a terminal the values of the column `shorten` are cut so that a row is one line; a pipe gets them whole.
    """
    columns = shutil.get_terminal_size().columns if shorten is not None and sys.stdout.isatty() else None
    for line in table_lines(head, rows, shorten or 0, columns):
        print(line)  # noqa: T201


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], shorten: int, columns: int | None) -> Iterator[str]:
    """Yield the lines of a table, at most `columns` wide if cutting the column `shorten` suffices for that."""
    table = [[_one_line(value) for value in row] for row in (head, *rows)]
    widths = [max(_cells(row[column]) for row in table) for column in range(len(head))]
    if columns is not None:
        too_wide = sum(widths) + 2 * (len(widths) - 1) - columns
        widths[shorten] = max(min(widths[shorten], _LEAST_CELLS), widths[shorten] - max(0, too_wide))
        for row in table:
            row[shorten] = _cut(row[shorten], widths[shorten])
    for row in table:
        padded = (value + " " * (width - _cells(value)) for value, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a wide character, none for a mark or joiner."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    none = {"Mn", "Me", "Cf"}
    return sum(0 if category(each) in none else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def _cut(text: str, cells: int) -> str:
    if _cells(text) <= cells:
        return text
    while _cells(text) >= cells:
        text = text[:-1]
    return f"{text}…"


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values below each other. A value is one line without control characters."""
    width = max(len(name) for name, _ in fields) + 2
    for name, value in fields:
        print(f"{name + ':':<{width}}{_one_line(value)}")  # noqa: T201


def _one_line(value: str) -> str:
    return printable(value).replace("\n", " ").replace("\t", " ")


def short(session_id: str) -> str:
    """Return the end of an id, which distinguishes sessions; the beginning is a time."""
    return session_id[-8:]


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many there are more."""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(printable(name) for name in names[:_SHOWN_NAMES]) + more


def age(moment: datetime | None) -> str:
    """Return how long ago a moment was, in one unit."""
    if moment is None:
        return "-"
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for limit, divisor, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def state_of(session: "SessionInfo") -> str:
    """Return the state of a session in a few words."""
    if session.status == "waiting_input" and session.waiting_for not in {None, "prompt"}:
        return f"waits: {session.waiting_for}"
    asleep = {"frozen": " (paused)", "hibernated": " (hibernated)"}.get(session.presence, "")
    return f"{session.status}{'' if session.ended else asleep}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0][:60]
