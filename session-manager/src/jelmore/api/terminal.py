"""Terminals of a session, served by the manager: for API clients, and on the own URL of a session that is not awake."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.websockets import WebSocket

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId, caller_of, login_cookie
from jelmore.api.closing import close_code_of
from jelmore.api.services import Context, context_of
from jelmore.api.socket import ManagerBackend
from jelmore.api.stream_auth import Admit, StreamCaller, admit_any, admit_key, admit_token
from jelmore.api.streams import SESSION_HEADER, id_or_close
from jelmore.ports import TerminalClosedError, TerminalLink
from jelmore.session.errors import JelmoreError
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.terminal import Command, OpenFrame
from jelmore_protocol.websocket_server import (
    Admission,
    Client,
    CloseError,
    Item,
    offered_credential,
    serve_terminal,
    serve_trusted,
)

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])
own_url = APIRouter(include_in_schema=False)

_CODES: Final = frozenset(CloseCode)


@router.get(
    "/{session_id}/terminal",
    name="get_terminal",
    status_code=426,
    response_class=Response,
    responses={426: {"content": {"application/problem+json": {}}, "description": "Connect with a WebSocket."}},
)
async def get_terminal(context: ContextOf, caller: CallerOf, session_id: SessionId) -> Response:
    """A terminal in the session's sandbox, over a WebSocket on this path; see docs/terminal.md.

    Binary frames carry bytes, text frames are JSON; the first one is `{"type": "open"}`. A plain request gets 426.
    """
    await context.services.queries.get(caller, session_id)
    raise HTTPException(426, "connect with a WebSocket", {"Upgrade": "websocket", "Connection": "Upgrade"})


@router.websocket("/{session_id}/terminal", name="terminal")
async def terminal(websocket: WebSocket, session_id: str) -> None:
    """Serve a terminal to a client with an API key, a token of the session or a browser's login."""
    context = context_of(websocket)
    found = await id_or_close(websocket, session_id)
    if found is None:
        return
    if offered_credential(websocket) is None and login_cookie(websocket) is not None:
        await _serve_browser(websocket, context, found)
    else:
        await serve_terminal(websocket, TerminalSocket(websocket, context, found, admit_any(context, found)))


@own_url.websocket("/terminal", name="own_terminal")
async def own_terminal(websocket: WebSocket) -> None:
    """Serve the own URL of a paused or hibernated session. Whoever may type resumes it."""
    context = context_of(websocket)
    found = await id_or_close(websocket, websocket.headers.get(SESSION_HEADER, ""))
    if found is not None:
        await serve_terminal(websocket, TerminalSocket(websocket, context, found, admit_token(context, found)))


async def _serve_browser(websocket: WebSocket, context: Context, session_id: UUID) -> None:
    """Serve the page of this site, which has no credential that it could send. The key behind its login counts."""
    try:
        caller = await caller_of(context, websocket, "terminal", str(session_id))
        await context.services.queries.get(caller, session_id)
    except JelmoreError as error:
        await websocket.accept()
        await websocket.close(close_code_of(error))
        return
    stream_caller = StreamCaller(caller, None)
    backend = TerminalSocket(websocket, context, session_id, admit_key(context, caller))
    backend.enter(stream_caller)
    await serve_trusted(websocket, backend, Client(Admission(caller.subject, caller.can_write), None))


class TerminalSocket(ManagerBackend):
    """Adds the terminals to the manager's view of a session, for one connection."""

    def __init__(self, websocket: WebSocket, context: Context, session_id: UUID, admit: Admit) -> None:
        super().__init__(websocket, context, session_id, admit)

    @asynccontextmanager
    async def attach(self, client: Client, opening: OpenFrame) -> AsyncIterator["Bridge"]:
        """Connect to the session's runner. Raises FrameRefusedError."""
        watch = opening.watch or not client.admission.can_write
        frame = opening.model_copy(update={"watch": watch, "id": None})
        with self._acting("get_terminal"):
            sent, again = frame.model_dump_json(exclude_defaults=True, exclude={"id"}), opening.instance is not None
            link = await self._context.services.terminals.connect(
                self.caller, self._session_id, sent, watch=watch, again=again
            )
        try:
            yield Bridge(link)
        finally:
            await link.close()


class Bridge:
    """Passes frames between a client and a terminal: the `TerminalConnection` of the WebSocket server."""

    def __init__(self, link: TerminalLink) -> None:
        self._link = link

    async def output(self) -> AsyncGenerator[Item]:
        """Yield what the runner sends. Ends with its close code."""
        while True:
            try:
                frame = await self._link.receive()
            except TerminalClosedError as closed:
                code = CloseCode(closed.code) if closed.code in _CODES else CloseCode.GOING_AWAY
                raise CloseError(code) from None
            yield Item(frame) if isinstance(frame, str) else Item("", data=frame)

    async def typed(self, data: bytes) -> None:
        """Pass on what was typed."""
        await self._send(data)

    async def execute(self, frame: Command) -> None:
        """Pass a frame on."""
        await self._send(frame.model_dump_json(exclude_none=True))

    async def _send(self, frame: str | bytes) -> None:
        try:
            await self._link.send(frame)
        except TerminalClosedError:
            raise CloseError(CloseCode.GOING_AWAY) from None
