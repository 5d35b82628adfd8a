"""Wires the warm pool, for `bootstrap`."""

from datetime import UTC, datetime
from typing import Final

from jelmore.api.profiles import create_request
from jelmore.api.schemas import CreateBody
from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop, led
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.leadership import LeaderTask
from jelmore.control.pool import WarmPool
from jelmore.control.profiles import Profiles
from jelmore.control.reconciler import Ports
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults, new_session
from jelmore.drivers.local_memory import LocalMemory
from jelmore.ports import ApiKey, Role
from jelmore.session.pool import Rules
from jelmore.session.record import Session
from jelmore.settings import Settings

_EVERY_S: Final = 2.0
_NOBODY: Final = Caller(ApiKey("", "the warm pool", Role.READONLY, datetime.fromtimestamp(0, UTC)))
_WITHOUT_POOL_EVERY_S: Final = 60.0
"""Between looks without a pool: only for members that an earlier setting left."""


class PoolServices:
    """The warm pool of one manager, and its loop."""

    def __init__(
        self,
        settings: Settings,
        drivers: Drivers,
        ports: Ports,
        gateway: GatewayKeeper,
        defaults: Defaults,
        profiles: Profiles,
        room: DiskCapacity,
    ) -> None:
        def plain() -> Session:
            return new_session(_NOBODY, create_request(CreateBody(), profiles, None), defaults, ports.clock.now())

        rules = Rules(
            settings.pool_size,
            settings.pool_max_age_s,
            settings.start_timeout_s,
            connect=settings.pool_stage == "connected",
        )
        self.pool = WarmPool(
            ports, drivers.pool, gateway, defaults, rules, plain=plain, memory=LocalMemory(), room=room
        )
        every_s = _EVERY_S if settings.pool_size else _WITHOUT_POOL_EVERY_S
        task = LeaderTask("pool", self.pool.keep, drivers.leases, every_s=every_s)
        held = led("pool", task)
        self.loops = (Loop("pool", held.run, lambda: {**held.report(), **self.pool.report()}, settled=True),)

    async def close(self) -> None:
        """Do nothing: the drivers hold the connections."""
