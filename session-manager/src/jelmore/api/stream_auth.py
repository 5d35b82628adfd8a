"""Authentication of streams, repeated while they are open: a stream ends when its credential ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Never
from uuid import UUID

import structlog

from jelmore.api.auth import is_session_token
from jelmore.api.services import Context
from jelmore.control.access import Access, EndedTokenError
from jelmore.control.people import PARTICIPANT_PREFIX
from jelmore.control.requests import Caller
from jelmore.session.errors import ForbiddenError, JelmoreError, RequestError, UnauthenticatedError
from jelmore_protocol.tokens import Scope

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamCaller:
    """The caller of a stream, and when its credential expires (seconds since the epoch; None: until revoked)."""

    caller: Caller
    credential: str | None
    expires_at: float | None = None


type Admit = Callable[[str | None], Awaitable[StreamCaller]]
"""Authenticates a credential. Raises UnauthenticatedError, ForbiddenError, UnknownSessionError."""


def admit_token(context: Context, session_id: UUID) -> Admit:
    """Return an `Admit` that accepts tokens of this session."""
    access = context.services.access

    async def admit(given: str | None) -> StreamCaller:
        claims = access.session_tokens.claims(given, session_id)
        if Scope.READ not in claims.scopes:
            raise ForbiddenError("the token does not allow reading")
        return StreamCaller(await access.session_tokens.caller(claims, session_id), given, claims.expires_at)

    return admit


def admit_any(context: Context, session_id: UUID) -> Admit:
    """Return an `Admit` that accepts API keys and tokens of this session."""
    by_token = admit_token(context, session_id)

    async def admit(given: str | None) -> StreamCaller:
        if given is not None and is_session_token(given):
            return await by_token(given)
        if given is not None and given.startswith(PARTICIPANT_PREFIX):
            return StreamCaller(await context.services.people.caller_of(given, session_id), given)
        return StreamCaller(await context.services.access.keys.caller(given), given)

    return admit


def admit_key(context: Context, caller: Caller) -> Admit:
    """Return an `Admit` that accepts this caller as long as its API key is valid, whatever the credential.

    An account may get another role at a sign-in. The stream was opened with the former one, so it ends.
    """

    async def admit(given: str | None) -> StreamCaller:
        found = await context.services.access.keys.caller_by_id(caller.key.id)
        if found.key.role is not caller.key.role:
            raise UnauthenticatedError("the role of this account has changed: connect again")
        return StreamCaller(found, given)

    return admit


async def stay(stream_caller: Callable[[], StreamCaller], admit: Admit, access: Access, every_s: float) -> Never:
    """Check the credential of `stream_caller()`: now, every `every_s` seconds, at each revocation, and when it expires.

    Never returns. Raises UnauthenticatedError when the credential has expired or was revoked, and what `admit` raises.
    Does not raise at the end of the session: the stream sends the remaining output and then ends. While the credential
    cannot be checked (PostgreSQL is unavailable), the stream continues.
    """
    while True:
        revocation = access.revocation.next  # taken before the check, so that a revocation during the check is noticed
        try:
            await admit(stream_caller().credential)
        except EndedTokenError:
            pass
        except RequestError:
            raise
        except JelmoreError as error:
            _log.warning("admission_unsure", code=error.code, error=str(error))
        ends_at = stream_caller().expires_at
        left_s = inf if ends_at is None else ends_at - time.time()
        if left_s <= 0:
            raise UnauthenticatedError("the token has expired")
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left_s, every_s)):
                await revocation.wait()
