"""The parts of a test's manager that read the event log: over PostgreSQL when the test has one, else in memory."""

from typing import Any

from jelmore.control.access import Access
from jelmore.control.audit import AuditLog
from jelmore.control.event_feed import EventFeed
from jelmore.control.operator import Operator
from jelmore.control.people import People
from jelmore.control.session_spec import Defaults
from jelmore.control.sessions import SessionQueries
from jelmore.control.tasks import Tasks
from jelmore.control.tickets import Tickets
from jelmore.control.web_push import WebPush
from jelmore.control.webhook_delivery import WebhookDelivery
from jelmore.control.webhooks import Webhooks
from jelmore.drivers.http_webhooks import HttpWebhooks
from jelmore.drivers.postgres_event_log import PostgresEventLog
from jelmore.drivers.postgres_operator import PostgresOperator
from jelmore.drivers.postgres_people import PostgresPeople
from jelmore.drivers.postgres_webhooks import PostgresWebhooks
from jelmore.drivers.public_addresses import AllowedHosts
from jelmore.ports import Leases
from tests.fakes.memory_event_log import MemoryEventLog

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


class EventParts:
    """Wired as `jelmore.event_services` does. Without a database the webhooks have none either."""

    def __init__(
        self,
        store: Any,
        access: Access,
        leases: Leases,
        tasks: Tasks,
        database_url: str | None,
        queries: SessionQueries,
        defaults: Defaults,
    ) -> None:
        self.log: Any = PostgresEventLog(database_url, store.arrived) if database_url else MemoryEventLog(store)
        self.feed = EventFeed(self.log)
        self.tickets = Tickets(self.log, access)
        self.sender = HttpWebhooks(AllowedHosts.parse(["127.0.0.1"]), timeout_s=2)
        self.webhook_store = PostgresWebhooks(database_url or NOWHERE)
        self.webhooks = Webhooks(self.webhook_store, self.sender)
        contact = "mailto:ops@example.org" if database_url else ""
        self.push = WebPush(self.webhook_store, self.sender, store.load, contact)
        self.delivery = WebhookDelivery(
            self.webhook_store,
            self.log,
            self.feed,
            self.sender,
            leases,
            tasks,
            keep_s=3600,
            push=self.push,
            jitter=lambda: 0,
        )
        self.people_store = PostgresPeople(database_url or NOWHERE, (store.arrived, store.wrote))
        self.people = People(self.people_store, queries, store.load)
        self.operator_store = PostgresOperator(database_url or NOWHERE)
        self.audit = AuditLog(self.operator_store, keep_s=3600)
        self.levels: list[str] = []
        self.operator = Operator(
            self.operator_store, store, access, defaults, log_level="info", set_log_level=self.levels.append
        )
        self._tasks = tasks
        self._real = database_url is not None

    def start(self) -> None:
        """Start the loops."""
        self._tasks.keep("event-feed", self.feed.run)
        if self._real:
            self._tasks.keep("webhooks", self.delivery.run)
            self._tasks.keep("audit", self.audit.run)
            self._tasks.keep("live-settings", self.operator.run)

    async def close(self) -> None:
        """Release connections."""
        if self._real:
            await self.audit.close()
        for part in (self.operator_store, self.sender, self.people_store, self.webhook_store, self.log):
            await part.close()
