"""Terminals on the control socket: the manager has authenticated the client and says who it is."""

import asyncio
from typing import Never

from starlette.websockets import WebSocket

from jelmore_protocol.bounds import MAX_NAME_CHARACTERS
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.websocket_server import Admission, Client, CloseError, serve_trusted
from jelmore_runner.client_backend import ClientBackend


async def serve_for_manager(backend: "ManagerTerminals", websocket: WebSocket) -> None:
    """Serve a client of the manager: `subject` says who it is, `write=1` that it may type."""
    given = websocket.query_params
    admission = Admission(given.get("subject", "")[:MAX_NAME_CHARACTERS], can_write=given.get("write") == "1")
    await serve_trusted(websocket, backend, Client(admission, None))


class ManagerTerminals(ClientBackend):
    """The WebSocket server's view of the terminals, for clients of the manager."""

    async def authenticate(self, credential: str) -> Admission:  # noqa: ARG002 - the backend's signature
        """Refuse: only the manager renews credentials."""
        raise CloseError(CloseCode.BAD_FRAME)

    async def stay(self, client: Client) -> Never:  # noqa: ARG002 - the backend's signature
        """Wait until cancelled: the manager closes the connection when the credential ends."""
        while True:
            await asyncio.Event().wait()
