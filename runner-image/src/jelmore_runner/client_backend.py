"""What the runner's WebSocket backends have in common, whoever authenticates their clients."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from jelmore_protocol.frames import CloseCode
from jelmore_protocol.terminal import OpenFrame
from jelmore_protocol.websocket_server import Client, CloseError, ConnectionBudget, ServerLimits
from jelmore_runner.runner import Runner
from jelmore_runner.terminals.terminal import TerminalClient


class ClientBackend:
    """Admits clients while the session accepts them, counts them, and attaches them to terminals.

    A subclass adds `authenticate` and `stay`: whose credentials it accepts, and for how long. Each backend has a
    budget of connections of its own.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._budget = ConnectionBudget(runner.settings.max_connections)
        self.limits = ServerLimits(send_timeout_s=runner.settings.send_timeout_s)

    def check_open(self) -> None:
        """Raise CloseError while there is no session or it is draining."""
        if self._runner.init is None or self._runner.draining:
            raise CloseError(CloseCode.TRY_LATER)

    @contextmanager
    def counted(self, client: Client) -> Iterator[None]:
        """Count the client, and let a pause or a revocation close it. Raises TooManyError."""
        with self._budget.counted(client.admission.subject, can_write=client.admission.can_write):
            self._runner.public.add(client)
            try:
                yield
            finally:
                self._runner.public.discard(client)

    @asynccontextmanager
    async def attach(self, client: Client, opening: OpenFrame) -> AsyncIterator[TerminalClient]:
        """Attach the client to a terminal, which starts if it does not run. Raises RefusedError."""
        async with (await self._runner.opened_terminals()).attach(client, opening) as attached:
            yield attached
