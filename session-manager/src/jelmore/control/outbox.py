"""The outbox relay: from the events that were committed to the event bus, in order, at least once, told once.

One manager at a time holds the lock. The bus drops a repeat by its id, so a crash between publishing and marking
costs nothing. When the bus has lost its memory, everything that is kept is published again, in batches by a cursor
that survives a crash; new events wait in the outbox meanwhile, and their writers wait for nothing.
"""

from contextlib import aclosing

import structlog

from jelmore.ports import EventBus, HeldOutbox, Outbox

_log = structlog.get_logger(__name__)

_BATCH = 500
_BATCH_BYTES = 4 * 1024 * 1024
"""What is held in memory at once, and sent again when the bus goes away meanwhile; a larger event goes alone."""

_POLL_S = 1.0


class OutboxRelay:
    """Publishes what the outbox holds. Run as a kept task: it raises when something is away, and begins again."""

    def __init__(self, outbox: Outbox, events: EventBus) -> None:
        self._outbox = outbox
        self._events = events
        self.holding = False
        self.published = 0

    async def run(self) -> None:
        """Wait for the lock, then publish for ever. Raises DependencyError when the database or the bus is away."""
        async with aclosing(self._outbox.hold()) as holds:
            async for held in holds:
                self.holding = True
                try:
                    await self._drain(held)
                finally:
                    self.holding = False

    async def _drain(self, held: HeldOutbox) -> None:
        while True:
            await self._refill(held)
            events = await held.take(_BATCH, max_bytes=_BATCH_BYTES)
            if not events:
                await held.wait(_POLL_S)
                continue
            count = await self._events.publish(events)
            await held.done(events[:count])
            self.published += count

    async def _refill(self, held: HeldOutbox) -> None:
        """Publish what the bus has lost, if it has. The connection is checked before each batch: it is cheap."""
        count = 0
        while (stream := await self._events.connect()) is not None:
            events = await held.kept(stream, _BATCH, max_bytes=_BATCH_BYTES)
            if not events:
                await self._events.filled()
                _log.info("events_published_again", count=count, why="the bus held nothing")
                return
            published = await self._events.publish(events)
            await held.kept_until(stream, events[published - 1])
            count += published
            self.published += published
