"""A session's WebSocket, served by the manager.

It serves API clients, and the session's own URL while the session is paused or hibernated. The server is
`jelmore_protocol.websocket_server`, as in the runner; the manager adds `state` frames.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Never
from uuid import UUID

import structlog
from starlette.websockets import WebSocket

from jelmore.api.audit_entries import audited
from jelmore.api.auth import count_request, counted_attempt
from jelmore.api.closing import close_code_of, error_code_of
from jelmore.api.services import Context
from jelmore.api.stream_auth import Admit, StreamCaller, stay
from jelmore.control.requests import Caller
from jelmore.session.errors import ForbiddenError, JelmoreError, UnknownSessionError
from jelmore.session.record import Session
from jelmore_protocol.frames import (
    CancelInputFrame,
    ChangeInputFrame,
    CloseCode,
    ErrorCode,
    InputFrame,
    PermissionFrame,
)
from jelmore_protocol.websocket_server import Admission, Client, CloseError, FrameRefusedError, Item, serve

_log = structlog.get_logger(__name__)


async def serve_socket(websocket: WebSocket, context: Context, session_id: UUID, admit: Admit) -> None:
    """Serve one WebSocket until either side closes it. Nothing is sent before the credential is verified."""
    await serve(websocket, ManagerBackend(websocket, context, session_id, admit))


class CallerConnection:
    """A connection to the manager, whose caller is checked while it lasts."""

    def __init__(self, websocket: WebSocket, context: Context, admit: Admit) -> None:
        self._websocket = websocket
        self._context = context
        self._admit = admit
        self._stream_caller: StreamCaller | None = None
        self.limits = context.stream_limits.limits

    async def admitted(self, credential: str) -> StreamCaller:
        """Return the caller with this credential; the first one counts as a request. Raises JelmoreError."""
        with counted_attempt(self._context, self._websocket, credential):
            stream_caller = await self._admit(credential)
        if self._stream_caller is None:
            await count_request(self._context, self._websocket, stream_caller.caller)
        return stream_caller

    async def stay(self, client: Client) -> Never:  # noqa: ARG002 - the backend's signature
        """Raise CloseError when the credential has expired or was revoked."""
        access, every_s = self._context.services.access, self._context.config.readmit_every_s
        with closing():
            await stay(self._entered, self._admit, access, every_s)
        raise AssertionError("stay never returns")

    def _entered(self) -> StreamCaller:
        assert self._stream_caller is not None  # noqa: S101 - called for an authenticated client
        return self._stream_caller

    @property
    def caller(self) -> Caller:
        """The authenticated caller."""
        return self._entered().caller


class ManagerBackend(CallerConnection):
    """Implements the WebSocket server's `Backend` over the control plane, for one connection."""

    def __init__(self, websocket: WebSocket, context: Context, session_id: UUID, admit: Admit) -> None:
        super().__init__(websocket, context, admit)
        self._session_id = session_id
        self._session: Session | None = None

    def check_open(self) -> None:
        """Accept every connection; a session that cannot be served is refused after authentication."""

    async def authenticate(self, credential: str) -> Admission:
        """Return what a key or token allows. Raises CloseError, also when the caller may not see this session."""
        with closing():
            stream_caller = await self.admitted(credential)
            try:
                self._session = await self._context.services.queries.get(stream_caller.caller, self._session_id)
            except UnknownSessionError:
                if self._stream_caller is None:
                    raise
                raise ForbiddenError("this key or token opens something else") from None
        self._stream_caller = stream_caller
        caller = stream_caller.caller
        return Admission(caller.subject, caller.can_write, stream_caller.expires_at)

    @contextmanager
    def counted(self, client: Client) -> Iterator[None]:
        """Count the connection. Raises TooManyError."""
        with ExitStack() as stack:
            admission = client.admission
            subject, can_write = admission.subject, admission.can_write
            stack.enter_context(self._context.stream_limits.counted(self._session_id, subject, can_write=can_write))
            stack.enter_context(self._context.metrics.streams.labels("websocket").track_inprogress())
            stack.enter_context(self._context.services.attendance.present(self._session_id, self.caller))
            yield

    async def stream(self, client: Client) -> AsyncGenerator[Item]:
        """Yield `hello`, the state, then output, deltas and state changes. Ends by CloseError."""
        assert self._session is not None  # noqa: S101 - a client is authenticated
        items = self._context.services.streams.follow(self._session, client.after)
        try:
            with closing():
                async for item in items:
                    if item.kind == "end":  # no frame: the `exited` event was sent, and the close code says the same
                        raise CloseError(CloseCode.ENDED)
                    yield Item(item.text, item.kind == "delta")
        finally:
            await items.aclose()  # type: ignore[attr-defined]  # an async generator, typed as AsyncIterator

    async def input(self, client: Client, frame: InputFrame) -> int | None:  # noqa: ARG002
        """Accept a prompt, resuming the session first; return the seq of its event, None while it has none yet.

        Raises FrameRefusedError.
        """
        commands = self._context.services.commands
        with self._acting("send_input"):
            accepted = await commands.input(
                self.caller, self._session_id, frame.input, input_id=frame.id or None, wait_s=None, expand=frame.expand
            )
        return None if accepted.waking else accepted.seq

    async def change_input(self, client: Client, frame: ChangeInputFrame) -> int | None:  # noqa: ARG002
        """Change the text of an input that waits; return the seq of the event. Raises FrameRefusedError."""
        queue = self._context.services.queue
        with self._acting("change_queued_input"):
            return await queue.change(self.caller, self._session_id, frame.input_id, frame.input)

    async def cancel_input(self, client: Client, frame: CancelInputFrame) -> int | None:  # noqa: ARG002
        """Remove an input that waits; return the seq of the event. Raises FrameRefusedError."""
        with self._acting("cancel_queued_input"):
            return await self._context.services.queue.cancel(self.caller, self._session_id, frame.input_id)

    async def interrupt(self, client: Client) -> None:  # noqa: ARG002
        """Stop the running turn. Raises FrameRefusedError."""
        with self._acting("interrupt"):
            await self._context.services.commands.interrupt(self.caller, self._session_id)

    async def answer(self, client: Client, frame: PermissionFrame) -> int | None:  # noqa: ARG002
        """Answer a pending request; return the seq of the answer. Raises FrameRefusedError."""
        commands = self._context.services.commands
        with self._acting("answer_permission"):
            return await commands.answer(self.caller, self._session_id, frame.request_id, frame.answer())

    @contextmanager
    def _acting(self, operation: str) -> Iterator[None]:
        """Note an act in the audit log, and answer an error with a frame."""
        with refusing(), audited(self._context, self._websocket.scope, self.caller, operation):
            yield

    def enter(self, stream_caller: StreamCaller) -> None:
        """Set the caller of a connection that was authenticated before."""
        self._stream_caller = stream_caller


@contextmanager
def closing() -> Iterator[None]:
    """Convert a JelmoreError to a CloseError with the matching code."""
    try:
        yield
    except JelmoreError as error:
        raise CloseError(close_code_of(error), str(error)) from None


@contextmanager
def refusing() -> Iterator[None]:
    """Convert a JelmoreError to an `error` frame. The text of an internal fault is logged, not sent."""
    try:
        yield
    except JelmoreError as error:
        code = error_code_of(error)
        if code is None:
            _log.error("frame_failed", code=error.code, error=str(error), exc_info=error)
            raise FrameRefusedError(ErrorCode.UNAVAILABLE, "something went wrong on our side") from None
        raise FrameRefusedError(code, str(error)) from None
