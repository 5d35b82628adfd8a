"""Endpoints with which a person lets the gateway use a route's server in their name.

The browser comes back to `callback` from another site, so without the strict cookie of its login. The page sends it
here once more; then the cookie says whether it is who began. Nothing of what came back is shown.
"""

from html import escape
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Query, Response
from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, login_cookie
from jelmore.api.responses import UtcTime
from jelmore.session.errors import InvalidRequestError, JelmoreError
from jelmore_protocol.authorization import MAX_CODE_CHARACTERS
from jelmore_protocol.bounded_shape import BoundedShape
from jelmore_protocol.gateway import CredentialKind

CALLBACK_PATH: Final = "/api/v1/authorizations/callback"
_PARAMETERS: Final = ("code", "state", "iss", "error")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_ON_A_PHONE: Final = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="/ui/app.css">'
)

router = APIRouter(prefix="/api/v1/authorizations", route_class=AuthenticatedRoute, tags=["gateway"])
returning = APIRouter(tags=["gateway"])


class AuthorizeBody(BoundedShape):
    """A route whose server is to be used in the name of a person."""

    route: str = Field(max_length=80, examples=["mcp/docs"])


class AuthorizeResponse(BoundedShape):
    """Where the person gives the consent."""

    url: str = Field(description="Open it in a browser, within ten minutes.")
    issuer: str = Field(description="The authorization server that the browser is sent to.")


class OfferedResponse(BoundedShape):
    """A route whose server can be used in the name of a person, after their consent there."""

    route: str = Field(examples=["mcp/docs"])
    host: str = Field(description="Host of the MCP server.", examples=["mcp.example.com"])
    credential: str = Field(description="The name of the credential that the consent becomes.", examples=["docs"])
    scope: str = Field(description="Whose it becomes: `user`, or `deployment` for everybody.", examples=["user"])
    kind: CredentialKind | None = Field(description="What is stored under this name: `oauth` after a consent.")
    changed_at: UtcTime | None = Field(description="When it was stored. Null: nothing is.")
    problem: str = Field(description="Why there is no access token at the moment; else empty.")


class FinishBody(BoundedShape):
    """The address of the page that the browser came back to."""

    address: str = Field(max_length=MAX_CODE_CHARACTERS + 4000, json_schema_extra={"writeOnly": True}, repr=False)


class AuthorizedResponse(BoundedShape):
    """A credential that was stored."""

    route: str
    scope: str = Field(examples=["user"])
    owner: str
    name: str
    renewable: bool = Field(description="False: the server gave no refresh token, and it ends at `expires_at`.")
    expires_at: UtcTime | None


@router.get("", name="list_authorizations", response_model=list[OfferedResponse])
async def list_authorizations(context: ContextOf, caller: CallerOf) -> list[OfferedResponse]:
    """Return the routes that you can authorize: for yourself, or as an admin without a user for everybody."""
    found = []
    for each in await context.services.authorizations.offered(caller):
        stored = each.stored
        state = context.services.gateway.credential_state(stored.credential) if stored else None
        found.append(
            OfferedResponse(
                route=each.route.name,
                host=urlsplit(each.route.url).hostname or "",
                credential=each.whose.name,
                scope=each.whose.scope.value,
                kind=stored.credential.kind if stored else None,
                changed_at=stored.changed_at if stored else None,
                problem=state.problem if state and not state.ok else "",
            )
        )
    return found


@router.post("", name="begin_authorization", response_model=AuthorizeResponse)
async def begin_authorization(
    context: ContextOf,
    caller: CallerOf,
    body: AuthorizeBody,
    user_id: Annotated[
        str | None, Query(min_length=1, max_length=256, description="For this user. Unset: for your own.")
    ] = None,
) -> AuthorizeResponse:
    """Return where a person lets the gateway use a route's server in their name; an admin's is of the deployment."""
    started = await context.services.authorizations.begin(caller, body.route, user_id)
    return AuthorizeResponse(url=started.url, issuer=started.issuer)


@router.post("/finish", name="finish_authorization", response_model=AuthorizedResponse)
async def finish_authorization(context: ContextOf, caller: CallerOf, body: FinishBody) -> AuthorizedResponse:
    """Take the code from the address that the browser came back to. Only who began can do this, and once."""
    given = dict(parse_qsl(urlsplit(body.address).query))
    if not given.get("code") or not given.get("state"):
        raise InvalidRequestError("address: has no code and state; was the consent refused?")
    done = await context.services.authorizations.finish(caller, given["state"], given["code"], given.get("iss", ""))
    return AuthorizedResponse(
        route=done.route,
        scope=done.whose.scope.value,
        owner=done.whose.owner,
        name=done.whose.name,
        renewable=done.authorized.renewable,
        expires_at=done.authorized.expires_at,
    )


@returning.get(CALLBACK_PATH, name="return_from_authorization", response_class=Response)
async def return_from_authorization(request: Request, context: ContextOf, *, here: bool = False) -> Response:
    """Take a browser back from an authorization server."""
    given = {name: request.query_params.get(name, "")[:MAX_CODE_CHARACTERS] for name in _PARAMETERS}
    if given["error"] or not given["code"] or not given["state"]:
        return _page("Not authorized", "The consent was not given. Nothing was stored; you may close this page.")
    if not here:
        again = f"{CALLBACK_PATH}?{urlencode({**given, 'here': '1'})}"
        return _page("One moment", "Coming back …", f'<meta http-equiv="refresh" content="0;url={escape(again)}">')
    login = login_cookie(request)
    if login is None:
        return _page(
            "One step is left",
            "This browser is not signed in here. Copy the address of this page into the command that waits for it.",
        )
    try:
        caller = await context.services.access.logins.caller(login)
        done = await context.services.authorizations.finish(caller, given["state"], given["code"], given["iss"])
    except JelmoreError as error:
        return _page("Not authorized", f"Nothing was stored: {error}")
    return _page("Authorized", f"The gateway has its own access to {done.route} now. You may close this page.")


def _page(title: str, text: str, head: str = "") -> Response:
    body = f'<main class="narrow door"><h1>{escape(title)}</h1><p>{escape(text)}</p></main>'
    page = f"<!doctype html><html lang=en>{_ON_A_PHONE}<title>{escape(title)}</title>{head}{body}"
    return HTMLResponse(page, headers=_HEADERS)
