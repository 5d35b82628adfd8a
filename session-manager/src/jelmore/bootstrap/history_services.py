"""Wires what looks after the past of sessions, for `bootstrap`: erasures."""

from collections.abc import Sequence

from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop
from jelmore.control.cache import RecordCache
from jelmore.control.erasure import Eraser
from jelmore.control.ports import Ports
from jelmore.control.sessions import SessionCommands
from jelmore.drivers.postgres_erasure import PostgresErasure
from jelmore.settings import Settings


class HistoryServices:
    """The parts of one manager that look after the past of sessions."""

    def __init__(
        self, settings: Settings, drivers: Drivers, ports: Ports, cache: RecordCache, commands: SessionCommands
    ) -> None:
        self._erasures = PostgresErasure(settings.database_url.get_secret_value(), drivers.store.wrote)
        self.eraser = Eraser(ports, self._erasures, drivers.events, cache, commands.end_to_erase)
        self.loops: Sequence[Loop] = ()

    async def close(self) -> None:
        """Release connections."""
        await self._erasures.close()
