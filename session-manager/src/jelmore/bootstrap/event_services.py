"""Wires what is built on the events of all sessions, for `bootstrap`: the log, its feed, stream tickets, webhooks."""

from typing import Final

from jelmore.bootstrap.loops import Loop, leader_loop
from jelmore.control.access import Access
from jelmore.control.event_feed import EventFeed
from jelmore.control.leadership import LeaderTask
from jelmore.control.people import People
from jelmore.control.sessions import SessionQueries
from jelmore.control.tasks import Tasks
from jelmore.control.tickets import Tickets
from jelmore.control.web_push import WebPush
from jelmore.control.webhook_delivery import WebhookDelivery
from jelmore.control.webhooks import Webhooks
from jelmore.drivers.http_webhooks import HttpWebhooks
from jelmore.drivers.postgres_event_log import PostgresEventLog
from jelmore.drivers.postgres_people import PostgresPeople
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.postgres_webhooks import PostgresWebhooks
from jelmore.drivers.public_addresses import AllowedHosts
from jelmore.ports import Leases
from jelmore.settings import Settings

_TRIM_EVERY_S: Final = 60.0


class EventServices:
    """The parts of one manager that read the event log."""

    def __init__(
        self,
        settings: Settings,
        store: PostgresStore,
        access: Access,
        leases: Leases,
        tasks: Tasks,
        queries: SessionQueries,
    ) -> None:
        url = settings.database_url.get_secret_value()
        self._keep_s = settings.events_max_age_s
        self._log = PostgresEventLog(url, store.arrived)
        self._webhooks = PostgresWebhooks(url)
        self._sender = HttpWebhooks(AllowedHosts.parse(settings.webhook_private_host_list))
        self.feed = EventFeed(self._log)
        self.tickets = Tickets(self._log, access)
        self.webhooks = Webhooks(self._webhooks, self._sender)
        self.push = WebPush(self._webhooks, self._sender, store.load, settings.web_push_contact)
        self.delivery = WebhookDelivery(
            self._webhooks, self._log, self.feed, self._sender, leases, tasks, keep_s=self._keep_s, push=self.push
        )
        self.people_store = PostgresPeople(url, (store.arrived, store.wrote))
        self.people = People(self.people_store, queries, store.load)
        self.loops = (
            Loop("event-feed", self.feed.run, lambda: {"newest": self.feed.newest, "readers": self.feed.readers()}),
            Loop("webhooks", self.delivery.run, self.delivery.report),
            leader_loop(LeaderTask("event-log", self._trim, leases, every_s=_TRIM_EVERY_S)),
        )

    async def close(self) -> None:
        """Release connections."""
        for part in (self._sender, self.people_store, self._webhooks, self._log):
            await part.close()

    async def _trim(self) -> None:
        if self._keep_s:
            await self._log.trim(self._keep_s)
