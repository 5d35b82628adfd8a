"""`attach`, `ls --watch`, `top` and `shell` as a person sees them: on the screen of a terminal emulator."""

import sys
from pathlib import Path

import pytest

from tests.e2e.test_command import Shell
from tests.support.stack_client import Api
from tests.support.tmux import needs_tmux, tmux

pytestmark = needs_tmux
JELMORE = [sys.executable, "-m", "jelmore_client.cli"]


@pytest.fixture
def shell(quick_api: Api, tmp_path: Path) -> Shell:
    return Shell(quick_api, tmp_path)


def seen_by(shell: Shell) -> dict[str, str]:
    return {name: shell.environment[name] for name in ("JELMORE_URL", "JELMORE_API_KEY", "XDG_CONFIG_HOME", "PATH")}


async def test_attach_shows_a_permission_and_the_answer_in_place(shell: Shell, quick_api: Api, tmp_path: Path) -> None:
    session_id = (await quick_api.create())["id"]
    async with tmux([*JELMORE, "attach", session_id], seen_by(shell), tmp_path) as window:
        await window.until(lambda seen: "Ctrl-C interrupts" in seen and session_id[-8:] in seen)
        await window.type("demo> run touch x; echo allowed-$((40+2))", "Enter")
        await window.until(lambda seen: "allow? y, a" in seen and "waits for you" in seen)
        await window.type("y", "Enter")
        seen = await window.until(lambda seen: "allowed-42" in seen and "ready" in seen)
        assert "allow? y, a" not in seen.splitlines()[-2], "the prompt is the usual one again"
        await window.resize(60, 20)
        await window.type("demo> say hello from a narrow window", "Enter")
        await window.until(lambda seen: "[demo model] hello from a narrow window" in seen and "ready" in seen)
        await window.type("demo> sleep 60", "Enter")
        await window.until(lambda seen: "working" in seen)
        await window.type("C-c")
        await window.until(lambda seen: "ready" in seen)
        await window.type("C-d")
        await window.until(lambda seen: "Pane is dead" in seen)
    assert (await quick_api.get(session_id))["status"] not in {"terminated", "failed"}


async def test_lists_that_repeat_follow_what_happens(shell: Shell, quick_api: Api, tmp_path: Path) -> None:
    created = await quick_api.create(title="watched-one")
    name = created["id"][-8:]
    async with (
        tmux([*JELMORE, "ls", "--watch"], seen_by(shell), tmp_path) as listing,
        tmux([*JELMORE, "top", "--watch"], seen_by(shell), tmp_path) as using,
    ):
        seen = await listing.until(lambda seen: "watched-one" in seen)
        assert seen.splitlines()[0].split() == ["ID", "STATE", "ACTIVE", "TITLE", "TURNS"]
        await using.until(lambda seen: name in seen and "MEMORY" in seen.splitlines()[0])
        await quick_api.delete(created["id"])
        await listing.until(lambda seen: "ID" in seen and name not in seen)
        await using.until(lambda seen: "ID" in seen and name not in seen)
        for window in (listing, using):
            await window.type("C-c")
            await window.until(lambda seen: "Pane is dead" in seen)


async def test_a_full_screen_program_in_a_shell(shell: Shell, quick_api: Api, tmp_path: Path) -> None:
    session_id = (await quick_api.create())["id"]
    async with tmux([*JELMORE, "shell", session_id], seen_by(shell), tmp_path) as window:
        await window.until(lambda seen: "$" in seen)
        await window.type("seq -f 'row %g' 500 > rows; less rows", "Enter")
        await window.until(lambda seen: "row 31" in seen and "rows" in seen.splitlines()[-1])
        await window.resize(80, 12)
        await window.until(lambda seen: "row 11" in seen and "row 31" not in seen)
        await window.type("G")
        await window.until(lambda seen: "row 500" in seen)
        await window.type("q")
        await window.until(lambda seen: "less rows" in seen and "row 500" not in seen)
        await window.type("exit 5", "Enter")
        await window.until(lambda seen: "Pane is dead (status 5" in seen)
