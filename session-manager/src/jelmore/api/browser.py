"""The dashboard's page, and signing in to it with an API key.

The key is sent once; after that the browser holds a signed token in a cookie that scripts cannot read and that other
sites cannot send. The token ends with its key, and after `LOGIN_TTL_S`. `sign_in` is for people of an
identity provider.
"""

import hashlib
import json
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Response
from pydantic import BaseModel, Field
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf
from jelmore.api.cookies import is_secure, login_name
from jelmore.api.responses import UtcTime
from jelmore.api.services import Context
from jelmore.control.access import LOGIN_TTL_S
from jelmore.control.requests import Caller, IssuedToken
from jelmore.session.errors import ForbiddenError

WEB: Final = Path(__file__).resolve().parent.parent / "web"
PAGE_HEADERS: Final = {
    # Nothing of another host, nothing inline, and no text becomes markup except through the page's own sanitizer.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'none'; frame-ancestors 'none'; "
        "base-uri 'none'; require-trusted-types-for 'script'; trusted-types dompurify worker"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
TERMINAL_HEADERS: Final = {
    **PAGE_HEADERS,
    # The terminal's screen writes its own style sheets. Its page has nothing else on it.
    "Content-Security-Policy": PAGE_HEADERS["Content-Security-Policy"].replace(
        "style-src 'self'", "style-src 'self' 'unsafe-inline'"
    ),
}

router = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["system"])


class MeResponse(BaseModel):
    """Who the caller is."""

    id: str = Field(description="The id of the API key, or of the account of a person who signed in.")
    name: str
    role: str
    user_id: str | None = Field(
        None, description="Of a person who signed in at the identity provider: who they are there."
    )


class LoginResponse(MeResponse):
    """The login of a browser."""

    expires_at: UtcTime


@router.get("/me", response_model=MeResponse, name="get_me")
async def get_me(caller: CallerOf) -> MeResponse:
    """Return the name and role of the API key that the request was sent with."""
    return _me(caller)


def _me(caller: Caller) -> MeResponse:
    key = caller.key
    return MeResponse(id=key.id, name=key.name, role=key.role.value, user_id=key.user_id)


@router.post("/login", response_model=LoginResponse, name="login")
async def login(response: Response, context: ContextOf, caller: CallerOf) -> LoginResponse:
    """Set a cookie with which a browser may do what the API key of this request may, for twelve hours."""
    if caller.key.signed_in_until is not None:  # else a sign-in at an identity provider could renew itself for ever
        raise ForbiddenError("sign in at the identity provider again")
    token = set_login(response, context, caller, LOGIN_TTL_S)
    return LoginResponse(**_me(caller).model_dump(), expires_at=token.expires_at)


def set_login(response: Response, context: Context, caller: Caller, ttl_s: int) -> IssuedToken:
    """Set the cookie of a browser that signed in as the caller, for `ttl_s` seconds."""
    token = context.services.access.logins.issue(caller, ttl_s)
    response.set_cookie(
        login_name(context.config.public_url),
        token.token,
        max_age=ttl_s,
        secure=is_secure(context.config.public_url),
        httponly=True,
        samesite="strict",
    )
    return token


class _Files(StaticFiles):
    """Static files with the headers of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(TERMINAL_HEADERS if path == "terminal.html" else PAGE_HEADERS)
        return response


def service_worker() -> str:
    """Return the script that keeps the page's files in the browser: another text whenever one of them changes."""
    kept = sorted(
        path
        for path in WEB.rglob("*")
        if path.is_file() and path.name not in {"index.html", "lock.json", "sw.js"} and path.parent.name != "licences"
    )
    digest = hashlib.sha256()
    for path in [WEB / "index.html", *kept]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    files = json.dumps(["/", *(f"/ui/{path.relative_to(WEB).as_posix()}" for path in kept)])
    script = (WEB / "sw.js").read_text()
    return script.replace('["__FILES__"]', files).replace("__VERSION__", digest.hexdigest()[:16])


def install(app: FastAPI) -> None:
    """Add the dashboard's page and its files to `app`."""
    worker = service_worker()

    async def dashboard() -> Response:
        return FileResponse(WEB / "index.html", headers=PAGE_HEADERS)

    async def dashboard_worker() -> Response:
        return Response(worker, media_type="text/javascript", headers=PAGE_HEADERS)

    app.add_api_route("/sw.js", dashboard_worker, include_in_schema=False, name="dashboard_worker")
    app.add_api_route("/", dashboard, include_in_schema=False, name="dashboard")
    app.mount("/ui", _Files(directory=WEB), name="dashboard_files")
