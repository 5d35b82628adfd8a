"""`jelmore shell`: a terminal in a session's sandbox, on this terminal or in a pipe."""

import os
import re
import shutil
import sys
from typing import Annotated, Any, Final

import typer

from jelmore_client.cli.app import SessionRef, command, connect, find, server

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TERM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")


@command("shell")
def shell(
    reference: SessionRef,
    *,
    run: Annotated[str | None, typer.Option("--command", "-c", help="Run this instead of a shell.")] = None,
    name: Annotated[str | None, typer.Option(help="The terminal's name; 'main' by default.")] = None,
    cwd: Annotated[str | None, typer.Option(help="Where it starts, in the workspace.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look on without typing.")] = False,
    take: Annotated[bool, typer.Option("--take", help="Take the keyboard from whoever has it.")] = False,
    screen: Annotated[bool | None, typer.Option("--tty/--no-tty", help="With a screen, or pipes. By itself.")] = None,
) -> int:
    """Open a shell in a session's sandbox, or run a command. Enter, then ~. leaves a shell running.

    The exit code is that of the shell or command. Without a terminal, input and output pass unchanged, for pipes.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise typer.BadParameter("is at most 32 lower-case letters, digits and hyphens", param_hint="--name")
    here = sys.stdin.isatty() and sys.stdout.isatty()
    pty = here if screen is None else screen
    opening: dict[str, Any] = {"terminal": name, "command": run, "cwd": cwd, "pty": pty, "watch": watch, "take": take}
    with connect() as client:
        session_id = find(client, reference).id
    import asyncio

    from jelmore_client.cli.visit import visit

    return asyncio.run(visit(server(), session_id, {**opening, **_screen()} if pty else opening))


def _screen() -> dict[str, Any]:
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "")
    known = term if _TERM.fullmatch(term) and term != "dumb" else "xterm-256color"
    return {"columns": max(1, size.columns), "rows": max(1, size.lines), "term": known}
