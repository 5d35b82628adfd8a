"""Endpoints for the events of all sessions: one page, one live stream, and tickets for browsers."""

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, Ticket, credential, parse_session_id
from jelmore.api.conversation_responses import EventResponse, show_event
from jelmore.api.event_stream import EventStream
from jelmore.api.event_types import Types, parse_types
from jelmore.api.parameters import Whole
from jelmore.api.responses import UtcTime
from jelmore.api.services import Context
from jelmore.api.stream_auth import StreamCaller, admit_key, stay
from jelmore.api.streams import cursor_of
from jelmore.control.event_feed import FeedCursor, FeedItem, FeedStart
from jelmore.control.requests import Caller
from jelmore.control.stream_frames import StreamItem
from jelmore.ports.event_log import EventFilter, LoggedEvent
from jelmore.session.errors import InvalidRequestError
from jelmore_protocol.bounded_shape import BoundedShape

router = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["events"])

_ALL_STREAMS: Final = UUID(int=0)
"""Counts streams over all sessions in the budget of one session."""

_PAGE_BYTES: Final = 2 * 1024 * 1024

OfSession = Annotated[
    str | None, Query(description="Only events of this session.", json_schema_extra={"format": "uuid"})
]
OfUser = Annotated[str | None, Query(max_length=256, description="Only events of sessions with this `user_id`.")]


class LoggedResponse(EventResponse):
    """An event with its position among the events of all sessions."""

    position: int = Field(description="The cursor: `after=position` gives what follows.")
    user_id: str | None = Field(description="The `user_id` of its session.")


class EventsResponse(BaseModel):
    """A page of events."""

    events: list[LoggedResponse]
    next_after: int = Field(description="The cursor of the next page.")
    more: bool = Field(description="More may follow at once, even if this page is empty.")
    resume: str = Field(description="`gap` when events after the given cursor are no longer kept.", examples=["ok"])
    oldest: int = Field(description="The oldest position that is kept.")
    newest: int


class TicketBody(BoundedShape):
    """A request for a stream ticket."""

    model_config = ConfigDict(extra="forbid")

    session_id: UUID | None = Field(None, description="The ticket opens only this session's stream.")


class TicketResponse(BaseModel):
    """A ticket, to be sent as the query parameter `ticket` of a stream."""

    ticket: str
    expires_at: UtcTime


@router.get("/events", name="list_all_events", response_model=EventsResponse)
async def list_all_events(
    context: ContextOf,
    caller: CallerOf,
    *,
    after: Annotated[int, Query(ge=0, le=2**62, description="Only what has a higher position."), Whole] = 0,
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 100,
    type: Types = None,  # noqa: A002
    session_id: OfSession = None,
    user_id: OfUser = None,
) -> EventsResponse:
    """Return the events of all sessions that the key may see, in one order, starting with the oldest that is kept.

    Positions ascend; events that you may not see leave holes. A page ends at `limit` events or 2 MiB of payloads.
    """
    wanted = await event_filter(context, caller, type, session_id, user_id)
    page = await context.services.feed.page(wanted, after, limit, max_bytes=_PAGE_BYTES)
    return EventsResponse(
        events=[show_logged(event) for event in page.events],
        next_after=page.until,
        more=page.more,
        resume="gap" if page.gap and after else "ok",
        oldest=page.bounds.oldest,
        newest=page.bounds.newest,
    )


@router.get(
    "/events/stream",
    name="stream_events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Frames as server-sent events."}},
)
async def stream_events(
    request: Request,
    context: ContextOf,
    caller: CallerOf,
    *,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Replay what follows this position."), Whole] = None,
    type: Types = None,  # noqa: A002
    session_id: OfSession = None,
    user_id: OfUser = None,
    ticket: Ticket = None,  # noqa: ARG001 - `caller_of` reads it
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """Stream the events of all sessions that the key may see: `hello` first, then each event as it happens.

    Without `after` the stream starts at the present. `Last-Event-ID`, which browsers send when they reconnect, takes
    precedence. `hello` says `"resume": "gap"` when events after the cursor are no longer kept; everything that is kept
    follows then. An id without data moves the cursor past events that the filter leaves out.
    """
    if last_event_id:
        after = cursor_of(last_event_id)
    wanted = await event_filter(context, caller, type, session_id, user_id)
    admit = admit_key(context, caller)
    stream_caller = StreamCaller(caller, credential(request))
    return EventStream(
        feed_frames(context, wanted, after),
        after,
        stay(lambda: stream_caller, admit, context.services.access, context.config.readmit_every_s),
        send_timeout_s=context.config.send_timeout_s,
        ping_every_s=context.config.ping_every_s,
        counted=counted_feed(context, caller),
    )


@router.post("/tickets", name="create_ticket", status_code=201, response_model=TicketResponse)
async def create_ticket(context: ContextOf, caller: CallerOf, body: TicketBody | None = None) -> TicketResponse:
    """Issue a ticket for one stream. It works once, within a minute, as `?ticket=` of a session's or of all events.

    Browsers cannot send headers with `EventSource`, and a key must not appear in a URL. When the stream breaks, get a
    new ticket and connect with `after` set to the last id.
    """
    session_id = body.session_id if body else None
    if session_id is not None:
        await context.services.queries.get(caller, session_id)
    ticket = await context.services.tickets.issue(caller, session_id)
    return TicketResponse(ticket=ticket.text, expires_at=ticket.expires_at)


def show_logged(logged: LoggedEvent) -> LoggedResponse:
    """Return an event of the log as the API presents it."""
    shown = show_event(logged.event)
    return LoggedResponse(**shown.model_dump(), position=logged.position, user_id=logged.user_id)


async def event_filter(
    context: Context, caller: Caller, types: list[str] | None, session_id: str | None, user_id: str | None
) -> EventFilter:
    """Return the filter of a request. Raises InvalidRequestError; UnknownSessionError for one that is not visible."""
    if user_id is not None and "\x00" in user_id:
        raise InvalidRequestError("user_id: must not contain the character NUL")
    only = None if session_id is None else parse_session_id(session_id)
    if only is not None:
        await context.services.queries.get(caller, only)
    return EventFilter(caller.sees_only, only, user_id, parse_types(types))


async def feed_frames(context: Context, wanted: EventFilter, after: int | None) -> AsyncGenerator[StreamItem]:
    """Yield `hello`, then the events after a position, and the cursor past those that the filter leaves out."""
    async with aclosing(context.services.feed.follow(wanted, after)) as items:
        async for item in items:
            yield _frame(item)


def _frame(item: FeedItem) -> StreamItem:
    match item:
        case FeedStart(bounds, gap):
            hello = {
                "type": "hello",
                "seq": bounds.newest,
                "resume": "gap" if gap else "ok",
                "oldest": bounds.oldest,
                "newest": bounds.newest,
            }
            return StreamItem("hello", None, json.dumps(hello))
        case FeedCursor(position):
            return StreamItem("cursor", position, "")
        case LoggedEvent() as logged:
            return StreamItem("event", logged.position, show_logged(logged).model_dump_json())


@contextmanager
def counted_feed(context: Context, caller: Caller) -> Iterator[None]:
    """Count a stream in the budgets and the metrics. Raises TooManyError."""
    with (
        context.stream_limits.counted(_ALL_STREAMS, caller.subject, can_write=caller.can_write),
        context.metrics.streams.labels("events").track_inprogress(),
    ):
        yield
