"""Shows what a tool would do, for the person who decides about it: a diff, a command, a plan or an address.

The agent chooses path and text, so files are read without following links, and every size is bounded.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from jelmore_protocol.events import Preview
from jelmore_runner.safe_files import read_file_below

MAX_CHARACTERS: Final = 32 * 1024
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_COMPARED_LINES: Final = 1_000
"""More lines are shown as removed and added: comparing them would block the runner."""

_CONTEXT: Final = 3


def preview_of(tool: str, given: Mapping[str, Any], folders: Sequence[Path]) -> Preview | None:
    """Return the preview of a tool call, None for a tool without one. Reads files below `folders` only.

    Blocks while it reads a file: call it in a thread.
    """
    match tool:
        case "Bash":
            return _cut("command", given.get("command"))
        case "ExitPlanMode":
            return _cut("plan", given.get("plan"))
        case "WebFetch":
            return _cut("url", given.get("url"))
        case "Write" | "Edit":
            path = given.get("file_path")
            changed = _change(tool, given, _read(path, folders)) if isinstance(path, str) else None
            return None if changed is None else _cut("diff", "\n".join(_diff(*changed)), path=path)
        case _:
            return None


def _cut(kind: str, text: object, path: str | None = None) -> Preview | None:
    if not isinstance(text, str) or not text:
        return None
    return Preview(kind=kind, text=text[:MAX_CHARACTERS], path=path, truncated=len(text) > MAX_CHARACTERS)


def _read(path: str, folders: Sequence[Path]) -> str | None:
    """Return the text of a file; None if there is none that may be read."""
    for folder in folders:
        place = PurePath(path)
        relative = place.relative_to(folder) if place.is_relative_to(folder) else None
        content = read_file_below(folder, relative, MAX_FILE_BYTES + 1) if relative is not None else None
        if content is not None and len(content) <= MAX_FILE_BYTES:
            return content.decode("utf-8", "replace")
    return None


def _change(tool: str, given: Mapping[str, Any], before: str | None) -> tuple[list[str], list[str], int] | None:
    """Return the lines before and after, and the number of the first. None for input that is not the tool's."""
    if tool == "Write":
        content = given.get("content")
        return ((before or "").splitlines(), content.splitlines(), 1) if isinstance(content, str) else None
    old, new = given.get("old_string"), given.get("new_string")
    if not isinstance(old, str) or not isinstance(new, str):
        return None
    if before is None or (old and old not in before):
        return old.splitlines(), new.splitlines(), 1
    after = before.replace(old, new) if given.get("replace_all") else before.replace(old, new, 1)
    return before.splitlines(), after.splitlines(), 1


def _diff(before: list[str], after: list[str], first: int) -> Iterator[str]:
    """Yield a unified diff without file names. Compares only the lines between the common start and end."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    start = max(0, head - _CONTEXT)
    keep = max(0, tail - _CONTEXT)
    old, new = before[start : len(before) - keep], after[start : len(after) - keep]
    if max(len(old), len(new)) > MAX_COMPARED_LINES:
        yield f"@@ -{first + start},{len(old)} +{first + start},{len(new)} @@"
        yield from (f"-{line}" for line in old)
        yield from (f"+{line}" for line in new)
        return
    groups = difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(_CONTEXT)
    for group in groups:
        yield from _hunk(group, old, new, first + start)


def _hunk(
    group: Sequence[tuple[str, int, int, int, int]], old: Sequence[str], new: Sequence[str], first: int
) -> Iterator[str]:
    old_from, old_to, new_from, new_to = group[0][1], group[-1][2], group[0][3], group[-1][4]
    yield f"@@ -{first + old_from},{old_to - old_from} +{first + new_from},{new_to - new_from} @@"
    for tag, i1, i2, j1, j2 in group:
        if tag == "equal":
            yield from (f" {line}" for line in old[i1:i2])
            continue
        yield from (f"-{line}" for line in old[i1:i2])
        yield from (f"+{line}" for line in new[j1:j2])


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many lines at the start are the same."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
