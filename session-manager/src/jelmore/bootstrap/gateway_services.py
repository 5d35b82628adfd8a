"""Wires what concerns the gateway, for `bootstrap`: who may use it, and what it metered."""

from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop
from jelmore.control.access import Access
from jelmore.control.gateway_admin import GatewayAdmin
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.session.network import split_words
from jelmore.settings import Settings
from jelmore_protocol.gateway import EgressConfig


class GatewayServices:
    """The parts of one manager that talk to the gateway."""

    def __init__(self, drivers: Drivers, access: Access, settings: Settings) -> None:
        self.keeper = GatewayKeeper(
            drivers.gateway,
            drivers.store,
            drivers.gateway_store,
            lambda: access.signing.public_pem,
            egress=egress_of(settings),
            package_hosts=split_words(settings.package_hosts),
            pool=drivers.pool,
        )
        self.admin = GatewayAdmin(drivers.gateway, drivers.gateway_store, drivers.store, self.keeper)
        self.loops = (
            Loop("gateway", self.keeper.run, self.keeper.report),
            Loop("gateway-revocations", self.keeper.run_revocations),
        )

    async def close(self) -> None:
        """Do nothing: the drivers hold the connections."""


def egress_of(settings: Settings) -> EgressConfig:
    """Return the deployment's bounds of connections to other hosts."""
    return EgressConfig(
        denied_networks=list(split_words(settings.egress_denied_networks)),
        allowed_networks=list(split_words(settings.egress_allowed_networks)),
        connections=settings.egress_connections,
        total_bytes=settings.egress_bytes,
        bytes_per_s=settings.egress_bytes_per_s,
        ask_s=settings.egress_ask_s,
    )
