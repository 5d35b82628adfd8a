"""The public URL of a session: `/ws` and `/terminal` for clients with a token, `/health` for liveness probes.

Nothing about the session is sent before a token is verified. A browser sees only the close code of an accepted
connection, so a connection with a bad token is accepted and closed at once.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Never
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from jelmore_protocol.control import CancelInput, ChangeInput, InputRequest
from jelmore_protocol.frames import (
    CancelInputFrame,
    ChangeInputFrame,
    CloseCode,
    ErrorCode,
    InputFrame,
    PermissionFrame,
)
from jelmore_protocol.tokens import Audience, Scope, TokenError, UnusableKeyError, verify
from jelmore_protocol.websocket_server import (
    Admission,
    Client,
    CloseError,
    Item,
    serve,
    serve_terminal,
)
from jelmore_runner.client_backend import ClientBackend
from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError
from jelmore_runner.runner import Runner

_MAX_WAIT_S = 3600.0


def create_public_app(runner: Runner) -> Starlette:
    """Return the ASGI application of the public socket."""
    backend = RunnerBackend(runner)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def connect(websocket: WebSocket) -> None:
        await serve(websocket, backend)

    async def terminal(websocket: WebSocket) -> None:
        await serve_terminal(websocket, backend)

    routes = [Route("/health", health), WebSocketRoute("/ws", connect), WebSocketRoute("/terminal", terminal)]
    return Starlette(routes=routes)


class RunnerBackend(ClientBackend):
    """The WebSocket server's view of a running session, for clients with a session token."""

    async def authenticate(self, credential: str) -> Admission:
        """Verify a token and return what it allows. Raises CloseError."""
        init = self._runner.init
        if init is None:
            raise CloseError(CloseCode.UNAUTHENTICATED, "there is no session yet")
        try:
            claims = verify(credential, init.token_public_key, session_id=init.session_id, audience=Audience.SESSION)
        except TokenError as error:
            code = CloseCode.FORBIDDEN if error.forbidden else CloseCode.UNAUTHENTICATED
            raise CloseError(code, str(error)) from None
        except UnusableKeyError:
            raise CloseError(CloseCode.UNAUTHENTICATED, "the token is not valid") from None
        if Scope.READ not in claims.scopes:
            raise CloseError(CloseCode.FORBIDDEN, "the token does not allow reading")
        if claims.subject in self._runner.revoked:
            raise CloseError(CloseCode.UNAUTHENTICATED, "the API key that this token was made with was revoked")
        if claims.epoch < self._runner.token_epoch:
            raise CloseError(CloseCode.UNAUTHENTICATED, "this token was replaced; ask for a new one at POST …/token")
        return Admission(claims.subject, Scope.WRITE in claims.scopes, claims.expires_at, claims.epoch)

    @contextmanager
    def counted(self, client: Client) -> Iterator[None]:
        """Count the client, also among the people who have the session open. Raises TooManyError."""
        admission = client.admission
        with (
            super().counted(client),
            self._runner.public_clients.connected(admission.subject, can_write=admission.can_write),
        ):
            yield

    def stream(self, client: Client) -> AsyncGenerator[Item]:
        """Yield `hello`, then events and deltas."""
        return self._runner.stream(client, default=None)

    async def stay(self, client: Client) -> Never:
        """Raise CloseError when the client's token expires. The runner closes clients whose token is revoked."""
        while True:
            expires_at = client.admission.expires_at or 0.0
            left_s = expires_at - time.time()
            if left_s <= 0:
                raise CloseError(CloseCode.UNAUTHENTICATED)
            client.renewed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _MAX_WAIT_S)):
                    await client.renewed.wait()

    async def input(self, client: Client, frame: InputFrame) -> int | None:
        """Accept a prompt and return the seq of its event. Raises RefusedError."""
        content = None if isinstance(frame.input, str) else frame.input
        request = InputRequest(
            id=frame.id or str(uuid4()),
            input=frame.text,
            content=content,
            by=client.admission.holder,
            expand=frame.expand,
        )
        return await self._conversation().accept(request)

    async def change_input(self, client: Client, frame: ChangeInputFrame) -> int | None:
        """Change the text of an input that waits and return the seq of the event. Raises RefusedError."""
        change = ChangeInput(id=frame.input_id, input=frame.input, by=client.admission.holder)
        return await self._conversation().change_input(change)

    async def cancel_input(self, client: Client, frame: CancelInputFrame) -> int | None:
        """Remove an input that waits and return the seq of the event. Raises RefusedError."""
        return await self._conversation().cancel_input(CancelInput(id=frame.input_id, by=client.admission.holder))

    async def interrupt(self, client: Client) -> None:  # noqa: ARG002 - the backend's signature
        """Stop the running turn. Raises RefusedError."""
        self._conversation()
        await self._runner.interrupt()

    async def answer(self, client: Client, frame: PermissionFrame) -> int | None:
        """Answer a pending request and return the seq of the event. Raises RefusedError."""
        return await self._conversation().requests.answer(frame.request_id, frame.answer(by=client.admission.holder))

    def _conversation(self) -> Conversation:
        if self._runner.draining:  # this connection is being closed
            raise RefusedError(ErrorCode.UNAVAILABLE, "the session is being paused; connect again")
        return self._runner.live_conversation()
