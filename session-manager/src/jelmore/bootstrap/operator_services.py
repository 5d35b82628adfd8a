"""Wires what operators use while managers run, for `bootstrap`: keys, live settings, drain, and the audit log."""

from jelmore.bootstrap.loops import Loop
from jelmore.control.access import Access
from jelmore.control.audit import AuditLog
from jelmore.control.operator import Operator
from jelmore.control.session_spec import Defaults
from jelmore.drivers.postgres_operator import PostgresOperator
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.logs import set_level
from jelmore.settings import Settings


class OperatorServices:
    """The parts of one manager that operators use."""

    def __init__(self, settings: Settings, store: PostgresStore, access: Access, defaults: Defaults) -> None:
        self._store = PostgresOperator(settings.database_url.get_secret_value())
        self.audit = AuditLog(self._store, keep_s=settings.audit_retention_s)
        self.operator = Operator(
            self._store, store, access, defaults, log_level=settings.log_level, set_log_level=set_level
        )
        self.loops = (
            Loop("audit", self.audit.run, lambda: {"dropped": self.audit.dropped}),
            Loop("live-settings", self.operator.run, lambda: {"draining": defaults.draining}),
        )

    async def close(self) -> None:
        """Write what waits for the audit log, and release connections."""
        await self.audit.close()
        await self._store.close()
