"""Which trace a session's start and its turns belong to: that of the request which asked for them."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final
from uuid import UUID

from jelmore.session.output import Output
from jelmore_protocol.tracing import CURRENT, Kind, NoTracing, Tracing, checked, turn_span_id

MAX_STARTING: Final = 1000
LONGEST_START_S: Final = 600.0
_ENDS: Final = frozenset({"turn_ended", "interrupted"})


class Traces:
    """The traces of one manager's sessions. A start that another manager completes is traced up to there."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.tracing = tracing or NoTracing()
        self._starting = OrderedDict[UUID, tuple[str, float]]()

    def starts(self, session_id: UUID) -> None:
        """Let the start of this session belong to the present span."""
        if self.tracing.on and (present := CURRENT.get()):
            self._starting[session_id] = present, time.monotonic()
            while len(self._starting) > MAX_STARTING:
                self._starting.popitem(last=False)

    def part(self, name: str) -> AbstractContextManager[object]:
        """Trace a part of the present request; nothing outside of one."""
        return self.tracing.span(name, Kind.INTERNAL, {}) if CURRENT.get() else nullcontext()

    @contextmanager
    def step(self, session_id: UUID, name: str, *, last: bool = False) -> Iterator[None]:
        """Trace a step of a session's start. After the `last` one, what happens to it belongs to no request."""
        parent, asked_at = self._starting.get(session_id, ("", 0.0))
        if not parent or time.monotonic() - asked_at > LONGEST_START_S:  # another manager has completed that start
            self._starting.pop(session_id, None)
            yield
            return
        with self.tracing.span(name, Kind.INTERNAL, {"jelmore.session_id": str(session_id)}, parent):
            yield
        if last:
            self._starting.pop(session_id, None)

    def turns(self, session_id: UUID, outputs: list[Output]) -> None:
        """Report the turns that end in this output, from what the runner has noted of them. Never raises."""
        if not self.tracing.on:
            return
        for output in outputs:
            if output.kind in _ENDS:
                self._turn(session_id, output, output.data)

    def _turn(self, session_id: UUID, output: Output, data: dict[str, Any]) -> None:
        noted, input_id, ended = data.get("trace"), data.get("input_id"), output.at.timestamp()
        if not isinstance(noted, dict) or not isinstance(input_id, str):
            return
        parent, began = checked(str(noted.get("parent"))), noted.get("started_at")
        if not parent or not isinstance(began, int | float) or not 0 < began <= ended:
            return
        attributes = {"jelmore.session_id": str(session_id), "jelmore.outcome": _outcome(output.kind, data)}
        self.tracing.record("turn", parent, turn_span_id(parent, input_id), (began, ended), attributes)


def _outcome(kind: str, data: dict[str, Any]) -> str:
    return "interrupted" if kind == "interrupted" else "failed" if data.get("outcome") == "failed" else "completed"
