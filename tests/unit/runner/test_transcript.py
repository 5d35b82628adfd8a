"""Every kind of damage to a transcript is named before Claude Code would block on it or lose the conversation."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from jelmore_runner.agents.claude import transcript as module
from jelmore_runner.agents.claude.transcript import count_messages, find


def closed(path: Path) -> None:
    path.write_text("{}\n")
    path.chmod(0)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (Path.touch, "is empty"),
    "closed": (closed, "cannot be read"),
    "folder": (Path.mkdir, "no regular file"),
    "fifo": (os.mkfifo, "no regular file"),
    "link": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
}


@pytest.fixture
def transcript(tmp_path: Path) -> Path:
    folder = tmp_path / ".claude" / "projects" / "-work"
    folder.mkdir(parents=True)
    return folder / "c.jsonl"


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(tmp_path: Path, transcript: Path, kind: str) -> None:
    spoil, words = DAMAGE[kind]
    spoil(transcript)
    found = find(tmp_path, "c")
    assert found is not None
    assert words in (found.damage or "")


def test_an_intact_or_absent_transcript_is_left_to_claude_code(tmp_path: Path, transcript: Path) -> None:
    assert find(tmp_path, "c") is None
    transcript.write_text("{}\n")
    found = find(tmp_path, "c")
    assert found is not None
    assert (tmp_path / found.path, found.damage) == (transcript, None)
    assert find(tmp_path / "nowhere", "c") is None


def test_a_transcript_that_only_its_owner_may_read_is_read_as_the_agent(
    tmp_path: Path, transcript: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript.write_text('{"type":"user","uuid":"u"}\n{"type":"summary"}\n{"type":"assis')
    path = transcript.relative_to(tmp_path)
    assert count_messages(tmp_path, path) == 1

    def refused(*_: object) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(module, "opened_beneath", refused)
    assert count_messages(tmp_path, path, "/usr/bin/env") == 1
    with pytest.raises(PermissionError):
        count_messages(tmp_path, path)
