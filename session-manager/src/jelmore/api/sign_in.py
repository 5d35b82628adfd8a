"""Signing in to the dashboard at an identity provider, and signing out of both; `docs/security.md` has the rules.

A browser is sent there, and comes back to `callback` with a code. Every outcome is a redirect to the dashboard, with a
word in the fragment that its login page explains: nothing of what came back is shown or logged.
"""

from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import RedirectResponse

from jelmore.api.auth import BoundedRoute, ContextOf
from jelmore.api.browser import set_login
from jelmore.api.cookies import BROWSER_HEADER, LOGIN_COOKIE, from_own_page, is_secure, login_name
from jelmore.api.failures import TooManyFailuresError
from jelmore.api.peers import client_address
from jelmore.api.services import Context
from jelmore.control.sign_in import Refusal, SignIn, SignInError
from jelmore.control.sign_in.attempt import ATTEMPT_S
from jelmore.ports.operator import AuditEntry
from jelmore.session.errors import DependencyError, ForbiddenError, NotFoundError

_log = structlog.get_logger(__name__)

ATTEMPT_COOKIE: Final = "jelmore_sign_in"
SIGN_OUT_COOKIE: Final = "jelmore_sign_out"
"""That this browser signed in at the provider, with the id token by which the provider knows the sign-in again."""

_PATH: Final = "/api/v1/login/oidc"
CALLBACK_PATH: Final = f"{_PATH}/callback"
_SIGN_OUT_PATH: Final = "/api/v1/logout"
_MAX_COOKIE: Final = 3500  # browsers drop a cookie of more than 4096 bytes
_NO_HINT: Final = "-"
_MAX_PARAMETER: Final = 4096
_PARAMETERS: Final = ("code", "state", "iss", "error")

router = APIRouter(prefix="/api/v1", route_class=BoundedRoute, tags=["system"])
returning = APIRouter(tags=["system"])
"""What an identity provider sends a browser to. It may add parameters, which OAuth says to ignore (RFC 6749, 4.1.2)."""


class OidcResponse(BaseModel):
    """An identity provider at which people sign in."""

    name: str
    url: str = Field(description="Where a browser begins. It comes back to the dashboard.")


class LoginMethodsResponse(BaseModel):
    """How people may sign in to the dashboard."""

    key: bool = Field(description="With an API key: `POST /api/v1/login`.")
    oidc: OidcResponse | None


class LogoutResponse(BaseModel):
    """The login of this browser has ended."""

    provider_url: str | None = Field(
        description="Where the browser ends its sign-in at the identity provider too, and comes back from. Null when "
        "it did not sign in there, and when the provider has no such address or does not answer."
    )


@router.get("/login", response_model=LoginMethodsResponse, name="get_login_methods")
async def get_login_methods(context: ContextOf) -> LoginMethodsResponse:
    """Return how people may sign in to the dashboard. Needs no key."""
    found = context.services.sign_in
    return LoginMethodsResponse(key=True, oidc=OidcResponse(name=found.config.name, url=_PATH) if found else None)


@router.get("/login/oidc", status_code=303, response_class=Response, name="begin_sign_in")
async def begin_sign_in(
    request: Request,
    context: ContextOf,
    *,
    silent: Annotated[
        bool, Query(description="Ask the person nothing; it works while they are signed in there.")
    ] = False,
    here: Annotated[bool, Query(description="Do not go to the name in JELMORE_PUBLIC_URL first.")] = False,
) -> Response:
    """Send a browser to the identity provider."""
    found = _sign_in(context)
    public = urlsplit(context.config.public_url).netloc
    if not here and request.headers.get("host") != public:
        # The cookie of the attempt must be one of the name to which the browser comes back.
        query = "?here=1&silent=1" if silent else "?here=1"
        return _redirect(f"{context.config.public_url}{_PATH}{query}")
    try:
        departure = await found.begin(silent=silent)
    except SignInError as error:
        return _refused(request, context, error)
    response = _redirect(departure.url)
    response.set_cookie(
        ATTEMPT_COOKIE,
        departure.attempt,
        max_age=ATTEMPT_S,
        path=_PATH,
        secure=is_secure(context.config.public_url),
        httponly=True,
        samesite="lax",  # the browser comes back from another site
    )
    return response


@returning.get(CALLBACK_PATH, status_code=303, response_class=Response, name="finish_sign_in")
async def finish_sign_in(request: Request, context: ContextOf) -> Response:
    """Take a browser back from the identity provider, and sign the person in."""
    found = _sign_in(context)
    given = request.query_params
    answer = {name: given[name] for name in _PARAMETERS if name in given and len(given[name]) <= _MAX_PARAMETER}
    attempt = request.cookies.get(ATTEMPT_COOKIE, "")
    try:
        with context.failed_sign_ins.attempt(client_address(request.scope), attempt or "none"):
            caller, id_token = await found.finish(attempt, answer)
    except SignInError as error:
        return _refused(request, context, error)
    except TooManyFailuresError:
        return _refused(request, context, SignInError(Refusal.BUSY, "too many sign-ins from this address failed"))
    except DependencyError as error:
        return _refused(request, context, SignInError(Refusal.AWAY, str(error)))
    _note(request, context, caller.key.id, caller.key.name, "signed_in")
    request.scope["state"]["caller_id"] = caller.key.id
    response = _redirect(f"{context.config.public_url}/#/signin/done")
    response.delete_cookie(ATTEMPT_COOKIE, path=_PATH, httponly=True, samesite="lax")
    set_login(response, context, caller, found.config.login_ttl_s)
    response.set_cookie(
        SIGN_OUT_COOKIE,
        id_token if len(id_token) <= _MAX_COOKIE else _NO_HINT,
        max_age=found.config.login_ttl_s,
        path=_SIGN_OUT_PATH,
        secure=is_secure(context.config.public_url),
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/logout", response_model=LogoutResponse, name="logout")
async def logout(request: Request, response: Response, context: ContextOf) -> LogoutResponse:
    """End the login of a browser: its cookies are removed, whatever else happens. Needs no key; may run twice."""
    if not from_own_page(request):  # another site could sign people out
        raise ForbiddenError(f"only a page of this server signs out, with the header {BROWSER_HEADER}")
    secure = is_secure(context.config.public_url)
    for name in {LOGIN_COOKIE, login_name(context.config.public_url)}:
        response.delete_cookie(name, secure=secure, httponly=True, samesite="strict")
    response.delete_cookie(SIGN_OUT_COOKIE, path=_SIGN_OUT_PATH, secure=secure, httponly=True, samesite="strict")
    kept = request.cookies.get(SIGN_OUT_COOKIE)
    found = context.services.sign_in
    if kept is None or found is None:
        return LogoutResponse(provider_url=None)
    hint = None if kept == _NO_HINT else kept
    return LogoutResponse(provider_url=await found.departure(hint, f"{context.config.public_url}/"))


def _sign_in(context: Context) -> SignIn:
    if context.services.sign_in is None:
        raise NotFoundError("people sign in with keys here: JELMORE_OIDC_ISSUER is not set")
    return context.services.sign_in


def _refused(request: Request, context: Context, error: SignInError) -> Response:
    """Return to the login page, which explains the reason. Who was recognised is noted in the audit log."""
    _log.warning("sign_in_refused", reason=error.reason.value, error=str(error))
    if error.account is not None:
        _note(request, context, error.account.id, error.account.name, error.reason.value)
    response = _redirect(f"{context.config.public_url}/#/signin/{error.reason.value}")
    response.delete_cookie(ATTEMPT_COOKIE, path=_PATH, httponly=True, samesite="lax")
    return response


def _redirect(url: str) -> RedirectResponse:
    return RedirectResponse(url, 303, {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"})


def _note(request: Request, context: Context, actor: str, name: str, outcome: str) -> None:
    entry = AuditEntry(
        at=datetime.now(UTC),
        actor=actor,
        actor_name=name,
        action="sign_in",
        target=request.url.path,
        outcome=outcome,
        remote=client_address(request.scope),
        request_id=request.scope["state"]["request_id"],
    )
    context.services.audit.note(entry)
