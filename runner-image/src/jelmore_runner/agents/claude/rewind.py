"""Cuts Claude Code's transcript before a prompt, on the volume and for the database, or removes it.

A prompt has the uuid that it was sent with, so its line is found by it. What is cut off is the end of the file, so
Claude Code resumes what it had written before that prompt.
"""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from jelmore_runner.agents.claude import transcript
from jelmore_runner.errors import RefusedError
from jelmore_runner.safe_files import opened_directory

_CUT_S: Final = 20


@dataclass(frozen=True, slots=True)
class Rewind:
    """What a process is ended for. `done` gets the result, or a RefusedError."""

    input_id: str
    between: Callable[[], Awaitable[None]]
    done: "asyncio.Future[None]"

    def fail(self, error: RefusedError) -> None:
        """Report why it was not done, unless nobody waits any more."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a transcript ends before a prompt: after so many lines, bytes and messages."""

    lines: int = 0
    bytes: int = 0
    messages: int = 0


def find_cut(home: Path, path: PurePath, prompt: str, as_agent: str | None = None) -> Cut | None:
    """Return where to cut: behind the last message before this prompt. None when there is no such prompt.

    What lies between has no uuid and belongs to the prompt. Blocks. Raises OSError, UnreadableError.
    """
    lines = size = messages = 0
    cut = Cut()
    for batch in transcript.read_entries(home, path, as_agent):
        for entry in batch:
            if entry.uuid == prompt:
                return cut
            lines += 1
            size += len(entry.text.encode()) + 1
            if entry.uuid is not None:
                messages += 1
                cut = Cut(lines, size, messages)
    return None


def truncate(home: Path, path: PurePath, size: int, as_agent: str | None = None) -> None:
    """Cut a transcript off after `size` bytes, without following links. Blocks. Raises OSError."""
    try:
        with opened_directory(home, path.parts[:-1]) as folder:
            descriptor = os.open(path.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
            return
    except PermissionError:
        if as_agent is None:
            raise
    _run(as_agent, "truncate", "-s", str(size), "--", str(home / path))


def remove(home: Path, path: PurePath, as_agent: str | None = None) -> None:
    """Remove a transcript, without following links. Blocks. Raises OSError."""
    try:
        with opened_directory(home, path.parts[:-1]) as folder:
            os.unlink(path.name, dir_fd=folder)
            return
    except PermissionError:
        if as_agent is None:
            raise
    _run(as_agent, "rm", "-f", "--", str(home / path))


def _run(as_agent: str, *words: str) -> None:
    """Run a command with the agent's rights: a link then leads nowhere that the agent could not write itself."""
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    try:
        subprocess.run([as_agent, *words], env=environment, cwd="/", check=True, capture_output=True, timeout=_CUT_S)  # noqa: S603 - no shell
    except subprocess.SubprocessError as error:
        raise OSError(f"the transcript cannot be changed: {error}") from None
