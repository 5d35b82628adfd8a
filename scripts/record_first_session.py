"""Record the first session of the README against a running Jelmore and write docs/first-session.svg.

Start `make run` in another terminal, then, in the same directory: `.venv/bin/python scripts/record_first_session.py`.
The picture shows the commands and what they printed, without the waiting times.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

PICTURE: Final = Path(__file__).resolve().parent.parent / "docs" / "first-session.svg"
JELMORE: Final = Path(sys.executable).with_name("jelmore")
WIDTH: Final = 98
DEADLINE_S: Final = 60.0

COMMANDS: Final = (
    'jelmore run -d --title Hello "demo> run echo hello from $(whoami) in $(pwd)"',
    "jelmore inbox",
    "jelmore answer @ allow",
    "jelmore logs @",
    'jelmore send @ "demo> say and again"',
    "jelmore ls",
    "jelmore rm @",
)
"""Each one after the session waits for something, as a person at a terminal would see it."""


def output_of(command: str) -> str:
    """Run a command of the picture and return what it prints.

    Raises CalledProcessError, TimeoutExpired, and ValueError for a line that the picture would cut off.
    """
    words = [str(JELMORE), *shlex.split(command)[1:]]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": str(WIDTH)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=DEADLINE_S, env=environment)
    printed = done.stdout.rstrip("\n")
    if words[1] != "show" and any(len(line) > WIDTH for line in printed.split("\n")):
        raise ValueError(f"{command} prints a line of more than {WIDTH} characters:\n{printed}")
    return printed


def settle() -> None:
    """Return when the newest session waits for a person, or has ended. Raises TimeoutError."""
    deadline = time.monotonic() + DEADLINE_S
    while '"status": "active"' in output_of("jelmore show @") or '"initializing"' in output_of("jelmore show @"):
        if time.monotonic() > deadline:
            raise TimeoutError("the session still works")
        time.sleep(0.3)


def record() -> Console:
    """Run the first session and return the console that recorded it."""
    console = Console(record=True, width=WIDTH, force_terminal=True, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text("# each session: its own container, the real Claude Code, no network, no key", "dim"))
    for command in COMMANDS:
        printed = output_of(command)
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")), soft_wrap=True)
        if printed:
            console.print(Text(printed, "cyan"), soft_wrap=True)
        console.print()
        settle()
    return console


def main() -> None:
    """Write the picture. It uses the fonts of the reader's machine, so that nothing is fetched from another host."""
    svg = record().export_svg(title="a first session")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    svg = re.sub(r"\n\s*<!-- Generated with Rich .*?-->", "", svg)
    PICTURE.write_text(svg)
    print(f"wrote {PICTURE.name}")


if __name__ == "__main__":
    main()
