"""Live output with replay, as server-sent events or WebSocket on one path.

Also serves the own URL of a session while its runner does not (paused or hibernated).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from jelmore.api.auth import (
    AuthenticatedRoute,
    CallerOf,
    ContextOf,
    SessionId,
    Ticket,
    given_credential,
    parse_session_id,
)
from jelmore.api.event_stream import EventStream
from jelmore.api.parameters import Whole
from jelmore.api.services import Context, context_of
from jelmore.api.socket import serve_socket
from jelmore.api.stream_auth import StreamCaller, admit_any, admit_key, admit_token, stay
from jelmore.control.requests import Caller
from jelmore.session.errors import InvalidRequestError, UnknownSessionError
from jelmore_protocol.frames import CloseCode

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])
own_url = APIRouter(include_in_schema=False)

SESSION_HEADER: Final = "x-jelmore-session"
"""Set by Caddy on a session's own URL. Caddy removes it from every other request, so clients cannot set it."""

_MAX_CURSOR_DIGITS: Final = 18

Guest = Annotated[
    Literal["true"] | None, Query(description="Of a browser: with the access of an invite, not with its login.")
]


@router.get(
    "/{session_id}/stream",
    name="stream",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Frames as server-sent events."}},
)
async def stream(
    request: Request,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    *,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Replay what follows this seq."), Whole] = None,
    ticket: Ticket = None,  # noqa: ARG001 - `caller_of` reads it
    guest: Guest = None,  # noqa: ARG001 - as above
    attendance: Annotated[
        bool, Query(description="Also send `attendance` events: who has the session open, at each change.")
    ] = False,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """Stream a session: `hello` and the state first, then the output after `after`, deltas, and each state change.

    Without `after` the stream starts at the present. `Last-Event-ID`, which browsers send when they reconnect, takes
    precedence over `after`. The stream ends after an `end` event, or with an `error` event when the token expires or
    the key is revoked. The same path accepts a WebSocket, with the frames of the session's own URL.
    """
    if last_event_id:
        after = cursor_of(last_event_id)
    session = await context.services.queries.get(caller, session_id)
    given = given_credential(request, "stream")
    if given is None:  # a ticket, which is used up, or a browser's login: from now on the key is checked
        admit, stream_caller = admit_key(context, caller), StreamCaller(caller, None)
    else:
        admit = admit_any(context, session_id)
        stream_caller = await admit(given)
    return EventStream(
        context.services.streams.follow(session, after, attendance=attendance),
        after,
        stay(lambda: stream_caller, admit, context.services.access, context.config.readmit_every_s),
        send_timeout_s=context.config.send_timeout_s,
        ping_every_s=context.config.ping_every_s,
        counted=_counted(context, session_id, stream_caller.caller),
    )


@contextmanager
def _counted(context: Context, session_id: UUID, caller: Caller) -> Iterator[None]:
    """Count a stream in the budgets and the metrics. Raises TooManyError."""
    with (
        context.stream_limits.counted(session_id, caller.subject, can_write=caller.can_write),
        context.metrics.streams.labels("sse").track_inprogress(),
        context.services.attendance.present(session_id, caller),
    ):
        yield


@router.websocket("/{session_id}/stream", name="stream_socket")
async def stream_socket(websocket: WebSocket, session_id: str) -> None:
    """Serve a session's WebSocket to a client with an API key or a token of the session."""
    context = context_of(websocket)
    found = await id_or_close(websocket, session_id)
    if found is not None:
        await serve_socket(websocket, context, found, admit_any(context, found))


@own_url.websocket("/ws", name="own_socket")
async def own_socket(websocket: WebSocket) -> None:
    """Serve the own URL of a paused or hibernated session. The first input resumes it; the connection stays open."""
    context = context_of(websocket)
    found = await id_or_close(websocket, websocket.headers.get(SESSION_HEADER, ""))
    if found is not None:
        await serve_socket(websocket, context, found, admit_token(context, found))


async def id_or_close(websocket: WebSocket, text: str) -> UUID | None:
    """Return the session's id; None after closing the connection, when it is none."""
    try:
        return parse_session_id(text)
    except UnknownSessionError:
        await websocket.accept()
        await websocket.close(CloseCode.UNKNOWN_SESSION, "there is no such session")
        return None


def cursor_of(text: str) -> int:
    """Return the cursor in a `Last-Event-ID`. Raises InvalidRequestError."""
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_CURSOR_DIGITS:
        return int(text)
    raise InvalidRequestError("Last-Event-ID: must be the id of an event of this stream")
