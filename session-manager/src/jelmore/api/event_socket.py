"""The events of all sessions over a WebSocket. The server is `jelmore_protocol.websocket_server`, as for a session."""

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from fastapi import APIRouter
from starlette.websockets import WebSocket

from jelmore.api.auth import AuthenticatedRoute
from jelmore.api.events import counted_feed, event_filter, feed_frames
from jelmore.api.services import Context, context_of
from jelmore.api.socket import CallerConnection, closing
from jelmore.api.stream_auth import StreamCaller
from jelmore.control.stream_frames import StreamItem
from jelmore.ports.event_log import EventFilter
from jelmore.session.errors import InvalidRequestError
from jelmore_protocol.frames import (
    CancelInputFrame,
    ChangeInputFrame,
    CloseCode,
    ErrorCode,
    ErrorFrame,
    InputFrame,
    PermissionFrame,
)
from jelmore_protocol.websocket_server import Admission, Client, CloseError, FrameRefusedError, Item, serve

router = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["events"])

_ONCE: Final = ("session_id", "user_id")
_FILTERS: Final = frozenset({"type", *_ONCE})


@router.websocket("/events/stream", name="events_socket")
async def events_socket(websocket: WebSocket) -> None:
    """Serve the events that an API key may see. Filters and `after` are those of the same path over HTTP."""
    await serve(websocket, EventsBackend(websocket, context_of(websocket)), _FILTERS)


class EventsBackend(CallerConnection):
    """Implements the WebSocket server's `Backend` over the event log, for one connection. Clients only read."""

    def __init__(self, websocket: WebSocket, context: Context) -> None:
        async def admit(given: str | None) -> StreamCaller:
            return StreamCaller(await context.services.access.keys.caller(given), given)

        super().__init__(websocket, context, admit)

    def check_open(self) -> None:
        """Accept every connection."""

    async def authenticate(self, credential: str) -> Admission:
        """Return what an API key allows: to read. Raises CloseError, for tokens of a session too."""
        with closing():
            admitted = await self.admitted(credential)
        self._stream_caller = admitted
        return Admission(admitted.caller.subject, can_write=False)

    @contextmanager
    def counted(self, client: Client) -> Iterator[None]:  # noqa: ARG002 - the backend's signature
        """Count the connection. Raises TooManyError."""
        with counted_feed(self._context, self.caller):
            yield

    async def stream(self, client: Client) -> AsyncGenerator[Item]:
        """Yield `hello`, then `event` and `cursor` frames; an `error` frame for a filter that is wrong."""
        with closing():
            try:
                wanted = await self._filter()
            except InvalidRequestError as error:
                yield Item(ErrorFrame(code=ErrorCode.BAD_FRAME, message=str(error)).model_dump_json())
                raise CloseError(CloseCode.BAD_FRAME) from None
            async with aclosing(feed_frames(self._context, wanted, client.after)) as items:
                async for item in items:
                    yield Item(_frame(item))

    async def input(self, client: Client, frame: InputFrame) -> int | None:  # noqa: ARG002
        """Refuse."""
        raise _read_only()

    async def change_input(self, client: Client, frame: ChangeInputFrame) -> int | None:  # noqa: ARG002
        """Refuse."""
        raise _read_only()

    async def cancel_input(self, client: Client, frame: CancelInputFrame) -> int | None:  # noqa: ARG002
        """Refuse."""
        raise _read_only()

    async def interrupt(self, client: Client) -> None:  # noqa: ARG002
        """Refuse."""
        raise _read_only()

    async def answer(self, client: Client, frame: PermissionFrame) -> int | None:  # noqa: ARG002
        """Refuse."""
        raise _read_only()

    async def _filter(self) -> EventFilter:
        given = self._websocket.query_params
        for name in _ONCE:
            if len(given.getlist(name)) > 1:
                raise InvalidRequestError(f"{name}: is given more than once")
        caller = self.caller
        return await event_filter(
            self._context, caller, given.getlist("type"), given.get("session_id"), given.get("user_id")
        )


def _frame(item: StreamItem) -> str:
    match item.kind:
        case "event":
            return f'{{"type":"event","position":{item.seq},"event":{item.text}}}'
        case "cursor":
            return json.dumps({"type": "cursor", "position": item.seq})
        case _:
            return item.text


def _read_only() -> FrameRefusedError:
    return FrameRefusedError(ErrorCode.FORBIDDEN, "this connection carries events only")
