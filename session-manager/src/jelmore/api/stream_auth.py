"""Who a stream was opened by, and until when: a stream may outlive the credential that opened it, and must not."""

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
from jelmore.control.requests import Caller
from jelmore.session.errors import ForbiddenError, JelmoreError, RequestError, UnauthenticatedError
from jelmore_protocol.tokens import Scope

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamCaller:
    """Who a credential stands for on this stream, and until when (seconds since the epoch; None: until revoked)."""

    caller: Caller
    credential: str | None
    expires_at: float | None = None


type Admit = Callable[[str | None], Awaitable[StreamCaller]]
"""Returns who holds a credential. Raises UnauthenticatedError, ForbiddenError, UnknownSessionError."""


def admit_token(context: Context, session_id: UUID) -> Admit:
    """Return what admits the holders of the session's own token."""
    access = context.services.access

    async def admit(given: str | None) -> StreamCaller:
        claims = await access.session_claims(given, session_id)
        if Scope.READ not in claims.scopes:
            raise ForbiddenError("the token does not allow reading")
        return StreamCaller(await access.caller_of(claims, session_id), given, claims.expires_at)

    return admit


def admit_any(context: Context, session_id: UUID) -> Admit:
    """Return what admits the holders of an API key, or of the session's token."""
    by_token = admit_token(context, session_id)

    async def admit(given: str | None) -> StreamCaller:
        if given is not None and is_session_token(given):
            return await by_token(given)
        return StreamCaller(await context.services.access.caller(given), given)

    return admit


async def stay(stream_caller: Callable[[], StreamCaller], admit: Admit, access: Access, every_s: float) -> Never:
    """Ask who `stream_caller()` is: now, every `every_s` seconds, at each revocation, and when the credential ends.

    Never returns. A stream outlives the end of its session: it ends by itself, after what was said until then.

    Raises UnauthenticatedError for a credential that has expired or was revoked, and what else `admit` refuses with.
    While nobody can tell (PostgreSQL is away) a stream goes on.
    """
    while True:
        revocation = access.revocation  # before the look, or a revocation right after it would go unnoticed
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
