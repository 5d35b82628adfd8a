"""The inputs that wait for the agent, according to stored output. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from jelmore.session.output import Output

KINDS: Final = ("input", "input_changed", "input_cancelled", "state", "turn_ended", "interrupted")
"""The kinds of output that change which inputs wait."""


@dataclass(frozen=True, slots=True)
class WaitingInput:
    """An input that waits. `seq` is the output that accepted it."""

    id: str
    input: str
    by: str
    seq: int


class WaitingInputs:
    """Follows a session's output, in order, and knows which inputs wait after it.

    `most` is how many a runner lets wait. The output of a hostile one may have any number: the oldest are forgotten.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, WaitingInput] = {}

    def feed(self, outputs: Iterable[Output]) -> None:
        """Take the next output. Kinds other than `KINDS` change nothing."""
        for output in outputs:
            if output.kind in KINDS:
                self._take(output)

    def _take(self, output: Output) -> None:
        data = output.data
        input_id = str(data.get("id") or data.get("input_id") or "")
        match output.kind:
            case "input" if input_id:
                by = str(data.get("by") or "")
                self._waiting[input_id] = WaitingInput(input_id, str(data.get("input") or ""), by, output.seq)
                if len(self._waiting) > self._most:
                    del self._waiting[next(iter(self._waiting))]
            case "input_changed" if input_id in self._waiting:
                self._waiting[input_id] = replace(self._waiting[input_id], input=str(data.get("input") or ""))
            case _:  # given to the agent, cancelled or ended
                self._waiting.pop(input_id, None)

    def listed(self) -> list[WaitingInput]:
        """Return the waiting inputs, the oldest first."""
        return list(self._waiting.values())
