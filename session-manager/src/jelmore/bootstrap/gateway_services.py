"""Wires what concerns the gateway, for `bootstrap`: who may use it, and what it metered."""

from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop
from jelmore.control.access import Access
from jelmore.control.gateway_admin import GatewayAdmin
from jelmore.control.gateway_keeper import GatewayKeeper


class GatewayServices:
    """The parts of one manager that talk to the gateway."""

    def __init__(self, drivers: Drivers, access: Access) -> None:
        self.keeper = GatewayKeeper(
            drivers.gateway, drivers.store, drivers.gateway_store, lambda: access.signing.public_pem
        )
        self.admin = GatewayAdmin(drivers.gateway, drivers.gateway_store, drivers.store, self.keeper)
        self.loops = (Loop("gateway", self.keeper.run),)

    async def close(self) -> None:
        """Do nothing: the drivers hold the connections."""
