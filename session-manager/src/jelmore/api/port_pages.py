"""Short pages on the origin of a port, for a browser that gets nothing of the server there."""

from html import escape
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from jelmore.session import errors
from jelmore.session.errors import JelmoreError

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color-scheme:light dark}"
    "h1{font-size:1.3em}p{opacity:.8}"
)
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}


def page(status: int, title: str, text: str) -> Response:
    """Return a page that says what is the matter and what to do."""
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1><p>{escape(text)}</p></html>\n"
    )
    return Response(body, status, HEADERS, media_type="text/html")


def page_of(error: JelmoreError, port: int) -> Response:
    """Return the page for an error. It says nothing of a session to those without a valid link."""
    if isinstance(error, errors.UnauthenticatedError | errors.ForbiddenError | errors.UnknownSessionError):
        again = "Open the port again in the dashboard, or ask who gave you the link for a new one."
        return page(HTTPStatus.UNAUTHORIZED, "This page needs a valid link", again)
    if isinstance(error, errors.SessionEndedError):
        return page(HTTPStatus.GONE, "The session has ended", "Resume it in the dashboard to use its ports again.")
    if isinstance(error, errors.ConflictError):
        words = "Links do not wake a session. Resume it in the dashboard, start its server, and reload this page."
        return page(HTTPStatus.SERVICE_UNAVAILABLE, "The session is asleep", words)
    if isinstance(error, errors.NotFoundError):
        words = f"Nothing of the session listens on port {port}. Start its server and reload this page."
        return page(HTTPStatus.BAD_GATEWAY, f"Nothing listens on port {port}", words)
    if isinstance(error, errors.CapacityError):
        return page(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections", "Wait a moment and reload this page.")
    words = "It closed the connection or sent something that is not HTTP. Reload this page to try again."
    return page(HTTPStatus.BAD_GATEWAY, f"The server on port {port} does not answer", words)
