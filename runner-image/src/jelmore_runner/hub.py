"""Who is watching: each subscriber pulls events at its own pace; only deltas are handed out, and may be dropped."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from jelmore_runner.journal import Journal

DELTA_BACKLOG: Final = 256


@dataclass(slots=True, eq=False)
class Subscriber:
    """One reader's place in the stream. `next` is called by one task."""

    journal: Journal
    cursor: int  # the newest event it has been given
    wants_deltas: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _deltas: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=DELTA_BACKLOG))

    @property
    def caught_up(self) -> bool:
        """Whether everything durable has been given."""
        return self.cursor >= self.journal.head

    def offer(self, stamp: int, text: str) -> None:
        """Take a delta that was made after event `stamp`; the oldest one goes when too many wait."""
        if self.wants_deltas:
            self._deltas.append((stamp, text))
            self.wake.set()

    async def next(self) -> list[str]:
        """Return what comes next, in order; empty when there is nothing yet (then wait for `wake`).

        A delta is given after the event it followed and before the one that followed it, never elsewhere.
        """
        texts: list[str] = []
        for seq, text in await self.journal.read(self.cursor):
            texts += self._deltas_before(seq)
            texts.append(text)
            self.cursor = seq
        if self.caught_up:
            texts += self._deltas_before(self.cursor + 1)
        return texts

    def _deltas_before(self, seq: int) -> list[str]:
        texts = []
        while self._deltas and self._deltas[0][0] < seq:
            texts.append(self._deltas.popleft()[1])
        return texts


class Hub:
    """All subscribers of the session."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, subscriber: Subscriber) -> None:
        """Start to wake it."""
        self._subscribers.add(subscriber)
        self.empty.clear()

    def remove(self, subscriber: Subscriber) -> None:
        """Stop to wake it; unknown ones are fine."""
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            self.empty.set()

    def wake(self) -> None:
        """Say that something changed: new events, or the end."""
        for subscriber in self._subscribers:
            subscriber.wake.set()

    def delta(self, stamp: int, text: str) -> None:
        """Hand out a delta that was made after event `stamp`."""
        for subscriber in self._subscribers:
            subscriber.offer(stamp, text)
