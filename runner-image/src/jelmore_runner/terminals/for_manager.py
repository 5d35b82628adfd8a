"""Terminals on the control socket: the manager has authenticated the client and says who it is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Never

from starlette.websockets import WebSocket

from jelmore_protocol.bounds import MAX_NAME_CHARACTERS
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.terminal import OpenFrame
from jelmore_protocol.websocket_server import (
    Admission,
    Client,
    CloseError,
    ConnectionBudget,
    ServerLimits,
    serve_trusted,
)
from jelmore_runner.runner import Runner
from jelmore_runner.terminals.terminal import Seat


async def serve_for_manager(backend: "ManagerTerminals", websocket: WebSocket) -> None:
    """Serve a client of the manager: `subject` says who it is, `write=1` that it may type."""
    given = websocket.query_params
    admission = Admission(given.get("subject", "")[:MAX_NAME_CHARACTERS], can_write=given.get("write") == "1")
    await serve_trusted(websocket, backend, Client(admission, None))


class ManagerTerminals:
    """The WebSocket server's view of the terminals, for clients of the manager."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._budget = ConnectionBudget(runner.settings.max_connections)
        self.limits = ServerLimits(send_timeout_s=runner.settings.send_timeout_s)

    def check_open(self) -> None:
        """Raise CloseError while there is no session or it is draining."""
        if self._runner.init is None or self._runner.draining:
            raise CloseError(CloseCode.TRY_LATER)

    async def authenticate(self, credential: str) -> Admission:  # noqa: ARG002 - the backend's signature
        """Refuse: only the manager renews credentials."""
        raise CloseError(CloseCode.BAD_FRAME)

    @contextmanager
    def counted(self, client: Client) -> Iterator[None]:
        """Count the client, and let a pause or a revocation close it. Raises TooManyError."""
        with self._budget.counted(client.admission.subject, can_write=client.admission.can_write):
            self._runner.public.add(client)
            try:
                yield
            finally:
                self._runner.public.discard(client)

    async def stay(self, client: Client) -> Never:  # noqa: ARG002 - the backend's signature
        """Wait for ever: the manager closes the connection when the credential ends."""
        while True:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def attach(self, client: Client, opening: OpenFrame) -> AsyncIterator[Seat]:
        """Give the client its place at a terminal. Raises RefusedError."""
        async with (await self._runner.opened_terminals()).attach(client, opening) as seat:
            yield seat
