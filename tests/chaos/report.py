"""What a run says at its end, and above all when something did not hold."""

from typing import Final

from tests.chaos.installation import Installation
from tests.chaos.notebook import Notebook
from tests.chaos.run import Outcome, table

_LOG_LINES: Final = 60
_SUSPICIOUS: Final = ("error", "warning")


def report(installation: Installation, notebook: Notebook, outcome: Outcome, again: str) -> str:
    """Return the report: what was done, what broke, when, and what was printed last. `again` repeats the run."""
    seen = (
        f"{outcome.inputs} inputs ({outcome.interrupted} interrupted), {outcome.outputs} outputs, "
        f"{outcome.events} events, {outcome.reconnects} reconnections, {outcome.gaps} gap verdicts"
    )
    lines = [table(outcome.recoveries), "", seen, ""]
    if not notebook.findings:
        return "\n".join([*lines, "every promise held"])
    lines += [f"{len(notebook.findings)} promises did not hold:"]
    lines += [f"  {finding}" for finding in notebook.findings]
    lines += ["", "what happened:", *notebook.lines, "", "last words of the services:"]
    lines += last_words(installation)
    return "\n".join([*lines, "", f"again: {again}"])


def last_words(installation: Installation) -> list[str]:
    """Return the end of every log that speaks of trouble, with its file's name."""
    found: list[str] = []
    for path in sorted([*installation.data_dir.glob("*/*.log"), *installation.folder.glob("*.log")]):
        text = path.read_text(errors="replace").splitlines()
        kept = [line for line in text if any(word in line.lower() for word in _SUSPICIOUS)]
        found += [f"--- {path.name}", *(line[:400] for line in kept[-_LOG_LINES:])]
    return found
