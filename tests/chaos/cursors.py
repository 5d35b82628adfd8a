"""What one subscriber saw of one numbered stream, checked as it comes: the next number, always."""

import hashlib
import json
from typing import Any

from tests.chaos.notebook import Notebook

type Frame = dict[str, Any]


def digest(*parts: Any) -> str:
    """Return a short mark of content, to compare what different channels sent."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of(event: Frame) -> str:
    """Return the mark of an output event, however it was delivered."""
    return digest(event["kind"], event["data"])


class Cursor:
    """One subscriber's place in one stream. After an explicit gap everything comes again from 1, and must be equal."""

    def __init__(self, name: str, notebook: Notebook) -> None:
        self.name = name
        self.position = 0
        self.connections = 0
        self.gaps = 0
        self.seen: dict[int, str] = {}
        self.stopped = False
        self._notebook = notebook

    def gap(self) -> None:
        """Take note that the server says: not from where you were, from the beginning."""
        self.gaps += 1
        self.position = 0

    def take(self, seq: int, mark: str) -> None:
        """Take the next event. What does not continue is a finding, and is gone on from."""
        if seq != self.position + 1:
            word = "again" if seq <= self.position else "with a hole"
            self._notebook.find(f"{self.name}: {seq} came {word}, after {self.position}")
        if self.seen.setdefault(seq, mark) != mark:
            self._notebook.find(f"{self.name}: {seq} came a second time with other content")
        self.position = max(seq, self.position)
