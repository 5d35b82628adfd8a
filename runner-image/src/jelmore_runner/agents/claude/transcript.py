"""Looks at Claude Code's transcript before a resume, without following links or blocking on the agent's files.

Without this check, Claude Code would block forever on a FIFO, or read a link to a device until memory runs out.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from subprocess import DEVNULL, PIPE, Popen
from typing import Final

from jelmore_protocol.events import read_json
from jelmore_protocol.transcripts import MAX_ENTRY_BYTES
from jelmore_runner.agents.claude.mirror import entry_of
from jelmore_runner.safe_files import opened_beneath
from jelmore_runner.transcripts import TranscriptEntry

MAX_PROJECTS: Final = 1_000
PROJECTS: Final = PurePath(".claude/projects")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK: Final = 1024 * 1024
_READ_S: Final = 60


@dataclass(frozen=True, slots=True)
class Found:
    """A transcript on the volume: its path below the home directory, or what is wrong with it."""

    path: PurePath
    damage: str | None = None


class UnreadableError(Exception):
    """A transcript that Claude Code could not resume from either."""


def find(home: Path, conversation_id: str) -> Found | None:
    """Return the conversation's transcript; None if there is none."""
    opened: list[int] = []
    try:
        opened.append(os.open(home, _FOLDER))
        for name in PROJECTS.parts:
            opened.append(os.open(name, _FOLDER, dir_fd=opened[-1]))
        return _find_below(opened[-1], f"{conversation_id}.jsonl")
    except OSError:
        return None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _find_below(projects: int, name: str) -> Found | None:
    with os.scandir(projects) as entries:
        folders = [entry.name for entry, _ in zip(entries, range(MAX_PROJECTS), strict=False)]
    for folder in folders:
        try:
            descriptor = os.open(folder, _FOLDER, dir_fd=projects)
        except OSError:
            continue
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        return Found(PROJECTS / folder / name, _fault(status))
    return None


def _fault(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "its transcript is no regular file"
    if status.st_size == 0:
        return "its transcript is empty"
    if not status.st_mode & stat.S_IRUSR:
        return "its transcript cannot be read"
    return None


def read_entries(home: Path, path: PurePath, as_agent: str | None = None) -> Iterator[list[TranscriptEntry]]:
    """Yield the lines of a transcript in batches of about a mebibyte. Blocks. Raises OSError, UnreadableError.

    Claude Code lets only its own user read the file; `as_agent` is the wrapper that runs a program as that user. An
    incomplete last line, of a process that was killed, is left out.
    """
    rest = b""
    for piece in _pieces(home, path, as_agent):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_ENTRY_BYTES:
            raise UnreadableError("a line of the transcript is too long")
        if lines:
            yield [_entry(line) for line in lines]


def count_messages(home: Path, path: PurePath, as_agent: str | None = None) -> int:
    """Return how many entries with a uuid a transcript has; as `read_entries`."""
    return sum(entry.uuid is not None for batch in read_entries(home, path, as_agent) for entry in batch)


def _pieces(home: Path, path: PurePath, as_agent: str | None) -> Iterator[bytes]:
    try:
        with opened_beneath(home, path) as descriptor:
            while piece := os.read(descriptor, _CHUNK):
                yield piece
            return
    except PermissionError:
        if as_agent is None:
            raise
    # With the agent's rights, a link leads nowhere that the agent could not read itself.
    command = [as_agent, "timeout", str(_READ_S), "cat", "--", str(home / path)]
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    with Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment, cwd="/", bufsize=0) as process:  # noqa: S603 - no shell
        try:
            while process.stdout is not None and (piece := process.stdout.read(_CHUNK)):
                yield piece
        finally:
            process.kill()


def _entry(line: bytes) -> TranscriptEntry:
    try:
        text = line.decode()
        entry = read_json(text)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise UnreadableError("a line of the transcript is not readable")
    return entry_of(entry, text)
