"""Wires the warm pool, for `bootstrap`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from jelmore.api.profiles import create_request
from jelmore.api.schemas import CreateBody
from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import leader_loop
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.leadership import LeaderTask
from jelmore.control.pool import ProfilePool, WarmPool
from jelmore.control.ports import Ports
from jelmore.control.profiles import Profiles
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults, new_session
from jelmore.drivers.local_memory import LocalMemory
from jelmore.ports import ApiKey, Role
from jelmore.session.errors import InvalidRequestError
from jelmore.session.pool import Rules
from jelmore.session.profiles import DEFAULT_NAME, Profile
from jelmore.session.record import Session
from jelmore.settings import Settings

_EVERY_S: Final = 2.0
_NOBODY: Final = Caller(ApiKey("", "the warm pool", Role.READONLY, datetime.fromtimestamp(0, UTC)))
_WITHOUT_POOL_EVERY_S: Final = 60.0
"""Between looks without a pool: only for members that an earlier setting left."""


def pool_size(profile: Profile, deployments: int) -> int:
    """Return how many members are kept for a profile; that of the deployment is the default profile's."""
    if profile.pool is not None:
        return profile.pool
    return deployments if profile.name == DEFAULT_NAME else 0


def has_pool(profiles: Profiles, deployments: int) -> bool:
    """Return whether any profile keeps members."""
    return any(pool_size(each, deployments) for each in profiles.all)


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
        disk: DiskCapacity,
    ) -> None:
        def plain(profile: Profile) -> Session | None:
            try:
                request = create_request(CreateBody(profile=profile.name), profiles, None)
                return new_session(_NOBODY, request, defaults, ports.clock.now())
            except (InvalidRequestError, ValueError):
                return None

        def pools() -> Sequence[ProfilePool]:
            return [
                ProfilePool(each.name, size, plain(each))
                for each in sorted(profiles.all, key=lambda one: one.name != DEFAULT_NAME)
                if (size := pool_size(each, settings.pool_size))
            ]

        rules = Rules(
            0,
            settings.pool_max_age_s,
            settings.start_timeout_s,
            connect=settings.pool_stage == "connected",
        )
        self.pool = WarmPool(
            ports, drivers.pool, gateway, defaults, rules, pools=pools, memory=LocalMemory(), disk=disk
        )
        every_s = _EVERY_S if settings.pool_size or settings.profiles else _WITHOUT_POOL_EVERY_S
        task = LeaderTask("pool", self.pool.keep, drivers.leases, every_s=every_s)
        led = leader_loop(task)
        self.loops = (replace(led, report=lambda: {**led.report(), **self.pool.report()}),)

    async def close(self) -> None:
        """Do nothing: the drivers hold the connections."""
