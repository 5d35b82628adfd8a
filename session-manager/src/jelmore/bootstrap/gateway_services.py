"""Wires what concerns the gateway, for `bootstrap`: who may use it, and what it metered."""

import structlog

from jelmore.api.authorizations import CALLBACK_PATH
from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop
from jelmore.control.access import Access
from jelmore.control.authorizations import Authorizations
from jelmore.control.gateway_admin import GatewayAdmin
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.mcp_server_alias import route_of
from jelmore.settings import Settings
from jelmore_protocol.gateway import EgressConfig, Route

_log = structlog.get_logger(__name__)


class GatewayServices:
    """The parts of one manager that talk to the gateway."""

    def __init__(self, drivers: Drivers, access: Access, settings: Settings) -> None:
        self.keeper = GatewayKeeper(
            drivers.gateway,
            drivers.store,
            drivers.gateway_store,
            lambda: access.signing.public_pem,
            egress=egress_of(settings),
            package_hosts=settings.package_host_list,
            pool=drivers.pool,
            fixed_routes=fixed_routes(settings),
        )
        self.admin = GatewayAdmin(drivers.gateway, drivers.gateway_store, drivers.store, self.keeper)
        self.authorizations = Authorizations(
            drivers.gateway, drivers.gateway_store, self.admin, settings.public_url + CALLBACK_PATH
        )
        self.loops = (
            Loop("gateway", self.keeper.run, self.keeper.report),
            Loop("gateway-revocations", self.keeper.run_revocations),
        )

    async def close(self) -> None:
        """Do nothing: the drivers hold the connections."""


def egress_of(settings: Settings) -> EgressConfig:
    """Return the deployment's bounds of connections to other hosts."""
    return EgressConfig(
        denied_networks=list(settings.egress_denied_list),
        allowed_networks=list(settings.egress_allowed_list),
        connections=settings.egress_connections,
        total_bytes=settings.egress_bytes,
        bytes_per_s=settings.egress_bytes_per_s,
        ask_s=settings.egress_ask_s,
    )


def fixed_routes(settings: Settings) -> list[Route]:
    """Return the routes of the settings: that of the deprecated MCP_SERVER, if it is set."""
    if not settings.mcp_server:
        return []
    route = route_of(settings.mcp_server)
    _log.warning("deprecated_setting", setting="MCP_SERVER", route=route.name, instead="PUT /api/v1/admin/routes")
    return [route]
