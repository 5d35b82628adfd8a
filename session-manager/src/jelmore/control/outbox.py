"""The outbox relay: publishes committed events on the event bus, in order and at least once.

One manager at a time holds the lock. The bus drops repeated events by id, so a crash between publishing and marking
does no harm. When the bus has lost its data, all stored events are published again, in batches with a cursor that
survives a crash. New events wait in the outbox meanwhile; their writers do not wait.
"""

from contextlib import aclosing

import structlog

from jelmore.ports import EventBus, HeldOutbox, Outbox

_log = structlog.get_logger(__name__)

_BATCH = 500
_BATCH_BYTES = 4 * 1024 * 1024
"""Limit of a batch: held in memory, and sent again if the bus fails meanwhile. A larger event is sent alone."""

_POLL_S = 1.0


class OutboxRelay:
    """Publishes the events of the outbox. Run it with `Tasks.keep`: it raises when a dependency is unavailable."""

    def __init__(self, outbox: Outbox, events: EventBus) -> None:
        self._outbox = outbox
        self._events = events
        self.holding = False
        self.published = 0

    async def run(self) -> None:
        """Wait for the lock, then publish until cancelled. Raises DependencyError when the database or bus fails."""
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
        """Publish again what the bus has lost, if anything. Checks the connection before each batch: it is cheap."""
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
