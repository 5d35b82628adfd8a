"""What to say of a setup that has failed, where nobody watches the session."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from jelmore_client.cli.blocks import printable
from jelmore_client.cli.printing import short

if TYPE_CHECKING:
    from jelmore_client import Event, Session

_KINDS: Final = ("setup_started", "setup_output", "setup_ended")
_FINE: Final = frozenset({"completed", "skipped"})
_MAX_LINES: Final = 10


def setup_failure(session: "Session") -> str | None:
    """Return what to say of a session's setup; None when it has none, or it did not fail. Raises JelmoreError."""
    return failure_of(session.id, session.output(kinds=_KINDS))  # a setup has a bounded output


def failure_of(session_id: str, outputs: "Iterable[Event]") -> str | None:
    """Return what to say of the last setup in a session's output, with the last lines that it printed."""
    printed, ended = "", None
    for each in outputs:
        if each.kind == "setup_started":
            printed, ended = "", None
            continue
        printed += str(each.data.get("text") or "")
        ended = each.data if each.kind == "setup_ended" else None
    if ended is None or ended.get("outcome") in _FINE:
        return None
    lines = printable(printed).rstrip().split("\n")[-_MAX_LINES:]
    code = "" if ended.get("exit_code") is None else f", exit code {ended['exit_code']}"
    said = f"the setup failed: {ended.get('outcome')}{code}; 'jelmore logs {short(session_id)}' has its output"
    return "\n".join([*(f"  {line}" for line in lines if line), said])
