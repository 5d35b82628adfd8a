"""What a run writes down: a line per thing that happened, and every promise that did not hold."""

import time


class Notebook:
    """Lines with the seconds since the start, and the findings. Printed as they come when `echo`."""

    def __init__(self, *, echo: bool = False) -> None:
        self._began = time.monotonic()
        self._echo = echo
        self.lines: list[str] = []
        self.findings: list[str] = []

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Note that something happened."""
        self.lines.append(f"{self.now_s():7.2f}  {text}")
        if self._echo:
            print(self.lines[-1], flush=True)

    def find(self, text: str) -> None:
        """Note a broken promise; the same words are noted once."""
        if text not in self.findings:
            self.findings.append(text)
            self.say(f"BROKEN: {text}")
