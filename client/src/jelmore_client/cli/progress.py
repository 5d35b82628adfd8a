"""Says on standard error what a command waits for: a line in a pipe, a spinner or a bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from jelmore_client.cli.printing import say


class Report(Protocol):
    """Takes how many bytes are done, of how many; None when nobody knows."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show it."""


def _nothing(done: int, total: int | None) -> None:
    """Show nothing: a pipe has the line already."""


@contextmanager
def working(text: str, *, line: bool = True) -> Iterator[Report]:
    """Show `text` and how long it takes until the block ends; call what this yields to show bytes too.

    `line`: a pipe gets a line. rich, which this needs on a terminal only, obeys NO_COLOR.
    """
    if not sys.stderr.isatty():
        if line:
            say(f"{text} …")
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    plain = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    shown = Progress(*plain, console=console, transient=True)
    task = shown.add_task(text, total=None)
    with shown:

        def report(done: int, total: int | None) -> None:
            shown.columns = (*plain, *([BarColumn(), DownloadColumn()] if total else [DownloadColumn()]))
            shown.update(task, completed=done, total=total)

        yield report
