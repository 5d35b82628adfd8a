"""Wires what is built on the events of all sessions, for `bootstrap`: the log, its feed, and stream tickets."""

from typing import Final

from jelmore.bootstrap.loops import Loop, led
from jelmore.control.access import Access
from jelmore.control.event_feed import EventFeed
from jelmore.control.leadership import LeaderTask
from jelmore.control.tickets import Tickets
from jelmore.drivers.postgres_event_log import PostgresEventLog
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.ports import Leases
from jelmore.settings import Settings

_TRIM_EVERY_S: Final = 60.0


class EventServices:
    """The parts of one manager that read the event log."""

    def __init__(self, settings: Settings, store: PostgresStore, access: Access, leases: Leases) -> None:
        self._settings = settings
        self.log = PostgresEventLog(settings.database_url.get_secret_value(), store.arrived)
        self.feed = EventFeed(self.log)
        self.tickets = Tickets(self.log, access)
        self.loops = (
            Loop("event-feed", self.feed.run, lambda: {"newest": self.feed.newest, "readers": self.feed.readers()}),
            led("event-log", LeaderTask("event-log", self._trim, leases, every_s=_TRIM_EVERY_S)),
        )

    async def close(self) -> None:
        """Release connections."""
        await self.log.close()

    async def _trim(self) -> None:
        if self._settings.events_max_age_s:
            await self.log.trim(self._settings.events_max_age_s)
