"""The subscribers of a session. Each pulls events at its own pace; deltas are pushed and may be dropped."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from jelmore_runner.journal import Journal

DELTA_BACKLOG: Final = 256


@dataclass(slots=True, eq=False)
class Subscriber:
    """One reader's position in the stream. Only one task may call `next`."""

    journal: Journal
    cursor: int  # the newest event that `next` has returned
    wants_deltas: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _deltas: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=DELTA_BACKLOG))

    @property
    def caught_up(self) -> bool:
        """Whether `next` has returned every durable event."""
        return self.cursor >= self.journal.head

    def offer(self, stamp: int, text: str) -> None:
        """Queue a delta that was created after event `stamp`. When too many wait, the oldest one is dropped."""
        if self.wants_deltas:
            self._deltas.append((stamp, text))
            self.wake.set()

    async def next(self) -> list[str]:
        """Return the next events and deltas, in order; empty when there are none yet (then wait for `wake`).

        A delta always comes after the event that preceded it and before the event that followed it.
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
        """Wake this subscriber from now on."""
        self._subscribers.add(subscriber)
        self.empty.clear()

    def remove(self, subscriber: Subscriber) -> None:
        """Stop waking this subscriber. May run twice."""
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            self.empty.set()

    def wake(self) -> None:
        """Wake all subscribers: there are new events, or the run has ended."""
        for subscriber in self._subscribers:
            subscriber.wake.set()

    def delta(self, stamp: int, text: str) -> None:
        """Queue a delta, created after event `stamp`, for each subscriber."""
        for subscriber in self._subscribers:
            subscriber.offer(stamp, text)
