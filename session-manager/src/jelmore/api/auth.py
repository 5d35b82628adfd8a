"""Authentication, done before any of the request body is read, and the routes that do both in this order."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import structlog
from fastapi import Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from jelmore.api.cookies import BROWSER_HEADER, GUEST, GUEST_COOKIE, cookie_of, login_name
from jelmore.api.parameters import check_parameters
from jelmore.api.peers import client_address
from jelmore.api.rates import RateLimitedError
from jelmore.api.request_bodies import media_type, read_body, read_session
from jelmore.api.services import Context, context_of
from jelmore.api.upload_parts import MULTIPART
from jelmore.control.people import PARTICIPANT_PREFIX
from jelmore.control.requests import Caller
from jelmore.session.errors import (
    ForbiddenError,
    UnauthenticatedError,
    UnknownSessionError,
)
from jelmore_protocol.tokens import Scope

TOKEN_SCOPES: Final[Mapping[str, Scope]] = {
    "get_session": Scope.READ,
    "stream": Scope.READ,
    "list_output": Scope.READ,
    "list_messages": Scope.READ,
    "export_transcript": Scope.READ,
    "list_permissions": Scope.READ,
    "list_queue": Scope.READ,
    "change_queued_input": Scope.WRITE,
    "cancel_queued_input": Scope.WRITE,
    "send_input": Scope.WRITE,
    "interrupt": Scope.WRITE,
    "answer_permission": Scope.WRITE,
}
"""The operations that a session token allows on its own session, with the scope each needs.

They are the same as on the session's own URL.
"""

PARTICIPANT_SCOPES: Final[Mapping[str, Scope]] = {
    **TOKEN_SCOPES,
    "renew_token": Scope.READ,
    "list_events": Scope.READ,
    "list_participants": Scope.READ,
    "get_own_participant": Scope.READ,
    "leave_session": Scope.READ,
    "join_session": Scope.READ,
    "list_comments": Scope.READ,
    "post_comment": Scope.READ,
    "mark_read": Scope.READ,
}
"""The operations that the credential of an invited participant allows on its session.

Editors have the scope write; of it, approvers have `answer_permission`.
"""

TICKET_OPERATIONS: Final = frozenset({"stream", "stream_events"})
"""The operations that a stream ticket opens, in the query parameter `ticket`."""

Ticket = Annotated[str | None, Query(max_length=256, description="Instead of a key; see `POST /api/v1/tickets`.")]
"""Declared for the description; `caller_of` reads it."""

_BODY_METHODS: Final = frozenset({"POST", "PATCH", "PUT"})
_JWT_DOTS: Final = 2


class BoundedRoute(APIRoute):
    """A route without authentication. Reads a bounded body, in bounded time, before anything else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped in parameter checks and the reading of the body."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            check_parameters(self.dependant, request.query_params)
            if request.method in _BODY_METHODS:
                await _read_body(request, context_of(request))
            return await handle(request)

        return bounded


class AuthenticatedRoute(APIRoute):
    """A route that sets `request.state.caller` before it validates or reads anything else of the request."""

    reads_body: ClassVar[bool] = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped in authentication, parameter checks and the reading of the body."""
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            context = context_of(request)
            caller = await caller_of(context, request, self.name, request.path_params.get("session_id"))
            request.state.caller = caller
            check_parameters(self.dependant, request.query_params)
            if self.reads_body and request.method in _BODY_METHODS:
                await self.read_body(request, context)
            return await handle(request)

        return authenticated

    async def read_body(self, request: Request, context: Context) -> None:
        """Read the body into the request."""
        await _read_body(request, context)


class StreamedBodyRoute(AuthenticatedRoute):
    """An authenticated route whose handler reads the body itself, as a stream of any size."""

    reads_body: ClassVar[bool] = False


class UploadRoute(AuthenticatedRoute):
    """An authenticated route that also takes its JSON as the first part of an upload (`request.state.upload`)."""

    async def read_body(self, request: Request, context: Context) -> None:
        """Read the body, or the first part of an upload, into the request."""
        request.state.upload = None
        await (read_session if media_type(request) == MULTIPART else _read_body)(request, context)


async def _read_body(request: Request, context: Context) -> None:
    """Read the body into the request. A form may be JSON only where no page of another site can have sent it."""
    await read_body(request, context, form_is_json=credential(request) is not None)


def credential(connection: HTTPConnection) -> str | None:
    """Return the API key or session token from the headers; None when there is none."""
    key = connection.headers.get("x-api-key")
    if key:
        return key.strip()
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def login_cookie(connection: HTTPConnection) -> str | None:
    """Return the login of a browser; None when there is none, or when another site may have caused the request."""
    return cookie_of(connection, login_name(context_of(connection).config.public_url))


def given_credential(connection: HTTPConnection, operation: str) -> str | None:
    """Return the credential from the headers, or that of a guest's page; None when there is neither.

    Raises UnauthenticatedError for a guest's page without one: it must not get what somebody's login may do.
    """
    given = credential(connection)
    asks = connection.headers.get(BROWSER_HEADER) == GUEST
    asks = asks or (operation in TICKET_OPERATIONS and connection.query_params.get(GUEST) == "true")
    if given is not None or not asks:
        return given
    found = cookie_of(connection, GUEST_COOKIE)
    if found is None or not found.startswith(PARTICIPANT_PREFIX):
        raise UnauthenticatedError("this browser was not invited to the session")
    return found


async def caller_of(context: Context, connection: HTTPConnection, operation: str, session_id: str | None) -> Caller:
    """Authenticate the request and count it.

    Raises UnauthenticatedError, ForbiddenError, RateLimitedError, TooManyFailuresError.
    """
    given = given_credential(connection, operation)
    with counted_attempt(context, connection, given):
        caller = await _caller_of(context, connection, given, operation, session_id)
    await count_request(context, connection, caller)
    return caller


def counted_attempt(context: Context, connection: HTTPConnection, given: str | None) -> AbstractContextManager[None]:
    """Return the context in which to look up a credential; it limits failures per client address.

    No credential is no failure, and signed tokens expire in honest hands: neither is counted.
    """
    if given is None or is_session_token(given):
        return nullcontext()
    return context.failures.attempt(client_address(connection.scope), given)


async def _caller_of(
    context: Context, connection: HTTPConnection, given: str | None, operation: str, session_id: str | None
) -> Caller:
    scope = TOKEN_SCOPES.get(operation)
    ticket = connection.query_params.get("ticket") if operation in TICKET_OPERATIONS else None
    if given is None and ticket:
        of_session = None if session_id is None else parse_session_id(session_id)
        return await context.services.tickets.redeem(ticket, of_session)
    if given is None and (login := login_cookie(connection)) is not None:
        return await context.services.access.logins.caller(login)
    if given is not None and given.startswith(PARTICIPANT_PREFIX):
        return await participant_caller(context, given, operation, session_id)
    if given is not None and is_session_token(given):
        if scope is None or session_id is None:
            raise ForbiddenError("a session token does not open this; send an API key")
        return await token_caller(context, given, parse_session_id(session_id), scope)
    return await context.services.access.keys.caller(given)


async def count_request(context: Context, connection: HTTPConnection, caller: Caller) -> None:
    """Count a request of this caller, and add the caller to the log context. Raises RateLimitedError."""
    state = connection.scope["state"]
    state["caller_id"] = caller.key.id
    state["caller"] = caller
    structlog.contextvars.bind_contextvars(caller=caller.key.id)
    try:
        state["answer_headers"] = await context.rates.take(caller.subject)
    except RateLimitedError:
        state["answer_headers"] = context.rates.limit_headers()
        raise


async def token_caller(context: Context, token: str, session_id: UUID, needed: Scope) -> Caller:
    """Return the caller that a session token was issued to. Raises UnauthenticatedError, ForbiddenError."""
    access = context.services.access
    claims = access.session_tokens.claims(token, session_id)
    if needed not in claims.scopes:
        raise ForbiddenError(f"this token lacks the scope {needed.value}")
    return await access.session_tokens.caller(claims, session_id)


async def participant_caller(context: Context, given: str, operation: str, session_id: str | None) -> Caller:
    """Return the participant that holds a credential. Raises UnauthenticatedError, ForbiddenError."""
    needed = PARTICIPANT_SCOPES.get(operation)
    if needed is None or session_id is None:
        raise ForbiddenError("a participant's credential does not open this; send an API key")
    caller = await context.services.people.caller_of(given, parse_session_id(session_id))
    if needed is Scope.WRITE and not (caller.can_write or (caller.approver and operation == "answer_permission")):
        raise ForbiddenError(f"{'an approver may answer' if caller.approver else 'a viewer may read'}, not more")
    return caller


def is_session_token(credential_text: str) -> bool:
    """Return whether the credential is a session token: a JWT begins with an encoded `{"` and has three parts."""
    return credential_text.startswith("eyJ") and credential_text.count(".") == _JWT_DOTS


def parse_session_id(text: str) -> UUID:
    """Return the id. Raises UnknownSessionError for anything but a UUID in its canonical form."""
    try:
        session_id = UUID(text)
    except ValueError:
        raise UnknownSessionError(text[:64]) from None
    if str(session_id) != text.lower():
        raise UnknownSessionError(text[:64])
    return session_id


async def _caller(request: Request) -> Caller:
    found: Caller | None = getattr(request.state, "caller", None)
    if found is None:  # fail closed when a route is not an AuthenticatedRoute
        raise UnauthenticatedError("send an API key in X-API-Key or Authorization: Bearer")
    return found


async def _session_id(session_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    return parse_session_id(session_id)


async def _context(request: Request) -> Context:
    return context_of(request)


CallerOf = Annotated[Caller, Depends(_caller)]
SessionId = Annotated[UUID, Depends(_session_id)]
ContextOf = Annotated[Context, Depends(_context)]
