"""Outside of a sandbox too, the agent gives way to its runner."""

import os
import subprocess
from pathlib import Path

from jelmore_runner.agents.claude.precedence import NICE, OOM_SCORE, claude_command, lowered
from jelmore_runner.settings import Address, Settings


def program_in(folder: Path) -> Path:
    program = folder / "it's a program"
    program.write_text('#!/bin/sh\ncat /proc/self/oom_score_adj; nice; echo "$1" $$\n', encoding="utf-8")
    program.chmod(0o700)
    return program


def test_a_program_runs_with_lower_precedence_in_the_same_process(tmp_path: Path) -> None:
    script = lowered(program_in(tmp_path), tmp_path / "claude")
    assert script is not None
    assert lowered(program_in(tmp_path), script) == script, "it may be written again"
    with subprocess.Popen([script, "an argument"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        score, nice, words = process.stdout.read().splitlines()
    assert int(score) == OOM_SCORE
    assert int(nice) == min(os.nice(0) + NICE, 19)
    assert words == f"an argument {process.pid}", "signals reach the program itself"
    assert script.stat().st_mode & 0o777 == 0o700


def test_where_no_script_can_be_written_or_executed_the_agent_runs_all_the_same(tmp_path: Path) -> None:
    assert lowered(program_in(tmp_path), tmp_path / "absent" / "claude") is None
    script = lowered(program_in(tmp_path), tmp_path / "claude")
    assert script is not None
    script.chmod(0o600)  # as on a file system that is mounted with `noexec`
    assert lowered(program_in(tmp_path), script) is None


def test_the_wrapper_of_the_image_is_used_unchanged(tmp_path: Path) -> None:
    nowhere = Address(path=str(tmp_path / "socket"))
    settings = Settings(nowhere, nowhere, nowhere, tmp_path, claude="/opt/jelmore/bin/claude")
    assert claude_command(settings) == Path("/opt/jelmore/bin/claude")
    assert list(tmp_path.iterdir()) == []
