"""The time that an idle agent has to report the result of the input that it was given.

Without it, an agent that loses a result would leave its session working for ever.
"""

import asyncio
from collections.abc import Callable
from typing import Final

NO_RESULT_S: Final = 30.0


class ResultDeadline:
    """One timer. Use it from one event loop only."""

    def __init__(self, missed: Callable[[str], None]) -> None:
        """`missed` is called with the id of the input whose result did not come."""
        self._missed = missed
        self._timer: asyncio.TimerHandle | None = None

    def start(self, input_id: str) -> None:
        """Wait for the result of this input from now on, in place of any other."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(NO_RESULT_S, self._missed, input_id)

    def stop(self) -> None:
        """Wait no longer. May run twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
