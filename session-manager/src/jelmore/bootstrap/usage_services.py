"""Wires what adds up usage and keeps budgets, for `bootstrap`."""

from typing import Final

from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop, leader_loop
from jelmore.control.budgets import Budgets
from jelmore.control.leadership import LeaderTask
from jelmore.control.metered_usage import MeteredUsage
from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.session_spec import Defaults
from jelmore.control.watchers import Watchers
from jelmore.drivers.postgres_usage import PostgresUsage
from jelmore.settings import Settings

_SWEEP_EVERY_S: Final = 15.0


class UsageServices:
    """The parts of one manager that add up usage and keep budgets."""

    def __init__(
        self,
        settings: Settings,
        drivers: Drivers,
        ports: Ports,
        queue: WorkQueue,
        watchers: Watchers,
        defaults: Defaults,
    ) -> None:
        self._store = PostgresUsage(settings.database_url.get_secret_value())
        self.budgets = Budgets(ports, self._store, queue, watchers, defaults)
        sweep = LeaderTask("budget-sweep", self.budgets.sweep, drivers.leases, every_s=_SWEEP_EVERY_S)
        metered = MeteredUsage(self._store, self.budgets.changed)
        meter = LeaderTask("metered-usage", metered.sweep, drivers.leases, every_s=_SWEEP_EVERY_S)
        self.loops = (Loop("budgets", self.budgets.run), leader_loop(sweep), leader_loop(meter))

    async def close(self) -> None:
        """Release connections."""
        await self._store.close()
