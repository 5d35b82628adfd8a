"""Gives the runner precedence over Claude Code where no other user and no wrapper of the image does it.

Without it, an agent that uses all memory or processors takes the runner with it, and its session cannot be ended in
time. Both steps need no privileges. Everything that Claude Code starts inherits them.
"""

import os
import shlex
import shutil
from pathlib import Path
from typing import Final

from jelmore_runner.settings import Settings

NICE: Final = 5
OOM_SCORE: Final = 1000
"""The highest: when memory is short, the kernel ends these processes first."""

_SCRIPT: Final = """#!/bin/sh
echo {oom} 2>/dev/null >/proc/self/oom_score_adj
exec nice -n {nice} {claude} "$@"
"""


def claude_command(settings: Settings) -> Path | None:
    """Return the command that starts Claude Code; None lets the SDK search for it.

    In a sandbox, that is the image's wrapper, which does the same and changes the user. Else it is a script in the
    runner's own folder. Without the SDK's binary, on a full disk, or on a file system from which nothing can be
    executed, the agent runs with the runner's own precedence. May run any number of times.
    """
    if settings.claude:
        return Path(settings.claude)
    claude = _of_the_sdk()
    return None if claude is None else lowered(claude, settings.state / "claude")


def lowered(program: Path, script: Path) -> Path | None:
    """Write `script`, which runs `program` with lower precedence; return it, or None when it cannot be executed."""
    text = _SCRIPT.format(oom=OOM_SCORE, nice=NICE, claude=shlex.quote(str(program)))
    try:
        # A file that was just written cannot be executed while a process that was forked meanwhile has it open.
        if not script.is_file() or script.read_text(encoding="utf-8") != text:
            new = script.with_name(f"{script.name}.new")
            new.write_text(text, encoding="utf-8")
            new.chmod(0o700)
            new.replace(script)
    except OSError:
        return None
    return script if os.access(script, os.X_OK) and shutil.which("nice") else None


def _of_the_sdk() -> Path | None:
    import claude_agent_sdk

    found = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
    return found if found.is_file() else None
