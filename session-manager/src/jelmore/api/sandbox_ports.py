"""Ports of a session: the list, and raw connections over a WebSocket."""

from collections.abc import AsyncGenerator
from typing import Annotated, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.websockets import WebSocket

from jelmore.api.audit_entries import audited
from jelmore.api.auth import (
    AuthenticatedRoute,
    CallerOf,
    ContextOf,
    SessionId,
    count_request,
    counted_attempt,
    credential,
    parse_session_id,
)
from jelmore.api.fields import Body
from jelmore.api.port_headers import PARAMETER
from jelmore.api.port_names import PortName, PortNames
from jelmore.api.problems import problem_of
from jelmore.api.responses import UtcTime
from jelmore.api.services import Context, context_of
from jelmore.api.socket import closing
from jelmore.api.stream_auth import StreamCaller, admit_key, stay
from jelmore.control.requests import Caller
from jelmore.control.sessions.runner_calls import live
from jelmore.ports import PortClosedError, PortConnection
from jelmore.session.errors import CapacityError, ConflictError, InvalidRequestError, JelmoreError
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.sandbox_ports import END, MAX_FRAME_BYTES, MAX_PORT
from jelmore_protocol.websocket_server import (
    Admission,
    Client,
    ClosedError,
    CloseError,
    Connection,
    Item,
    TooManyError,
    pump,
)

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])

MAX_LINK_S: Final = 30 * 86400

PortNumber = Annotated[int, Path(ge=1, le=MAX_PORT)]


class PortResponse(BaseModel):
    """A TCP port of the sandbox's loopback on which a process of the session listens."""

    port: int
    command: str = Field(description="The command line of the process, as the sandbox says.")
    since: UtcTime | None = Field(description="When the process started.")


class PortsResponse(BaseModel):
    """The ports of a session, by number; none while it is not awake."""

    session_id: str
    ports: list[PortResponse]


@router.get("/{session_id}/ports", response_model=PortsResponse, name="list_ports")
async def list_ports(context: ContextOf, caller: CallerOf, session_id: SessionId) -> PortsResponse:
    """List the TCP ports that listen in the session's sandbox. Wakes nothing."""
    found = await context.services.sandbox_ports.listening(caller, session_id)
    ports = [PortResponse(port=each.port, command=each.command, since=each.since) for each in found]
    return PortsResponse(session_id=str(session_id), ports=ports)


class PortLinkBody(Body):
    """How long a link works."""

    expires_in_s: int = Field(3600, ge=60, le=MAX_LINK_S, description="Seconds until the link and its page end.")


class PortLinkResponse(BaseModel):
    """A link with which a browser sees a port. Whoever has it may use the port until it expires."""

    url: str
    expires_at: UtcTime


@router.post(
    "/{session_id}/ports/{port}/links", status_code=201, response_model=PortLinkResponse, name="create_port_link"
)
async def create_port_link(
    context: ContextOf, caller: CallerOf, session_id: SessionId, port: PortNumber, body: PortLinkBody | None = None
) -> PortLinkResponse:
    """Make a link to a port, for a browser. It ends with the key that made it, and with the session's tokens.

    409 where the deployment has no names for ports (JELMORE_PORTS_HOST).
    """
    caller.check_may_write()
    names = PortNames(context.config.ports_host, context.config.public_url)
    if not names:
        raise ConflictError("this deployment has no names for ports: its operator sets JELMORE_PORTS_HOST")
    session = live(await context.services.queries.get(caller, session_id))
    ttl_s = (body or PortLinkBody()).expires_in_s
    grant = context.services.access.port_grants.issue(session, port, caller.key.id, ttl_s=ttl_s)
    url = f"{names.origin(PortName(port, session_id))}/?{PARAMETER}={grant.token}"
    return PortLinkResponse(url=url, expires_at=grant.expires_at)


@router.get(
    "/{session_id}/ports/{port}",
    name="get_port",
    status_code=426,
    response_class=Response,
    responses={426: {"content": {"application/problem+json": {}}, "description": "Connect with a WebSocket."}},
)
async def get_port(context: ContextOf, caller: CallerOf, session_id: SessionId, port: PortNumber) -> Response:  # noqa: ARG001 - the path's signature
    """A TCP connection to a port of the session, over a WebSocket on this path; see docs/ports.md.

    Binary frames of at most 64 KiB carry bytes. The text frame `end` ends one direction. A plain request gets 426.
    """
    await context.services.queries.get(caller, session_id)
    raise HTTPException(426, "connect with a WebSocket", {"Upgrade": "websocket", "Connection": "Upgrade"})


@router.websocket("/{session_id}/ports/{port}", name="port")
async def port_socket(websocket: WebSocket, session_id: str, port: str) -> None:
    """Connect a client with an API key that may write to a port; resumes the session first."""
    context = context_of(websocket)
    try:
        given = credential(websocket)
        with counted_attempt(context, websocket, given):
            caller = await context.services.access.keys.caller(given)
        await count_request(context, websocket, caller)
        found = parse_session_id(session_id)
        with audited(context, websocket.scope, caller, "get_port"):
            link = await context.services.sandbox_ports.connect(caller, found, port_number(port), wake=True)
    except JelmoreError as error:
        await websocket.send_denial_response(problem_of(error, websocket))
        return
    try:
        with context.stream_limits.port_counted(caller.subject):
            await _pass(websocket, context, caller, link)
    except TooManyError:
        full = CapacityError("too many connections are open; try again later")
        await websocket.send_denial_response(problem_of(full, websocket))
    finally:
        await link.close()


def port_number(text: str) -> int:
    """Return the number of a port. Raises InvalidRequestError."""
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT)) and 0 < int(text) <= MAX_PORT:
        return int(text)
    raise InvalidRequestError(f"port: must be a number from 1 to {MAX_PORT}")


async def _pass(websocket: WebSocket, context: Context, caller: Caller, link: PortConnection) -> None:
    await websocket.accept()
    connection = Connection(websocket, context.config.send_timeout_s)
    connection.limit_frames(MAX_FRAME_BYTES)
    client = Client(Admission(caller.subject, can_write=True), None)
    try:
        await pump(connection, _received(link), client, _send(connection, link), _stay(context, caller))
    except CloseError as close:
        await connection.close(close.code)
    except ClosedError:
        return


async def _received(link: PortConnection) -> AsyncGenerator[Item]:
    """Yield what the server sends. Raises CloseError at the end."""
    while True:
        try:
            yield Item("", data=await link.receive())
        except PortClosedError as closed:
            raise _closed(closed) from None


async def _send(connection: Connection, link: PortConnection) -> None:
    """Send what the client sends. Returns only by an error."""
    ended = False
    try:
        while True:
            frame = await connection.receive_any()
            if ended if isinstance(frame, bytes) else frame != END:
                raise CloseError(CloseCode.BAD_FRAME)
            if isinstance(frame, bytes):
                await link.send(frame)
            else:
                ended = True
                await link.end()
    except PortClosedError as closed:
        raise _closed(closed) from None


def _closed(closed: PortClosedError) -> CloseError:
    """Return how the client's connection ends: 1000, 4401 for a revoked key, or 1001 when the link broke off.

    The sandbox may know of a revocation before the next look at the key does.
    """
    if closed.revoked:
        return CloseError(CloseCode.UNAUTHENTICATED)
    return CloseError(CloseCode.ENDED if closed.in_order else CloseCode.GOING_AWAY)


async def _stay(context: Context, caller: Caller) -> None:
    entered = StreamCaller(caller, None)
    with closing():
        await stay(lambda: entered, admit_key(context, caller), context.services.access, context.config.readmit_every_s)
