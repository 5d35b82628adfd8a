"""The forwarders on loopback through which the agent leaves its sandbox: to the gateway, and to other hosts."""

import asyncio
from collections.abc import Callable

from jelmore_runner.egress import EgressForwarder
from jelmore_runner.gateway import Gateway
from jelmore_runner.settings import Settings
from jelmore_runner.supervisor import Supervisor


class WaysOut:
    """Both forwarders. They hold no credential; the token comes with the session, where the gateway needs one.

    Before `serve`, no call reaches the gateway.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._gateway = Gateway(settings.gateway, "", closed=True)
        self._egress = None if settings.egress is None else EgressForwarder(settings.egress)
        self._opening = asyncio.Lock()
        self._open = False

    async def open(self) -> None:
        """Listen. May run any number of times. Raises OSError."""
        async with self._opening:
            if self._open:
                return
            await self._gateway.start()
            self._supervisor.start("gateway", self._gateway.run())
            if self._egress is not None:
                await self._egress.start()
                self._supervisor.start("egress", self._egress.run())
            self._open = True

    def serve(self, token: str, trace: Callable[[], str]) -> None:
        """Pass calls on from now on, with this token, unless it is empty, and the trace of the running turn."""
        self._gateway.token = token
        self._gateway.trace = trace
        self._gateway.closed = False

    @property
    def gateway_port(self) -> int:
        """The port of the forwarder to the gateway. Open first."""
        return self._gateway.port

    @property
    def egress_port(self) -> int:
        """The port of the proxy to other hosts, 0 without one. Open first."""
        return 0 if self._egress is None else self._egress.port
