"""Authorizes calls of the model API: Caddy asks whether a runner may call it, and with which credential.

Only Caddy can reach this path, and it does not pass the response's headers on to the runner. Errors have the form
of the Messages API, because Claude Code reads them.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from jelmore.api.auth import ContextOf, credential
from jelmore.api.problems import status_of
from jelmore.session.errors import JelmoreError

_log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_TYPES: Final[Mapping[int, str]] = {401: "authentication_error", 403: "permission_error"}
"""Other statuses become `api_error`, which Claude Code retries for minutes. It gives up after three
`overloaded_error`s in a row."""


@router.api_route("/internal/gateway", methods=_METHODS, name="authorize_gateway")
async def authorize_gateway(request: Request, context: ContextOf) -> Response:
    """Return 204 with the headers to add to the call of the model API, or an error of the Messages API."""
    try:
        headers = await context.services.access.authorize_gateway(
            credential(request), ",".join(request.headers.getlist("anthropic-beta"))
        )
    except JelmoreError as error:
        return _refused(error)
    return Response(status_code=204, headers=dict(headers))


def _refused(error: JelmoreError) -> Response:
    status, _ = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("gateway_refused", code=error.code, error=str(error))
    shown = str(error) if status < HTTPStatus.INTERNAL_SERVER_ERROR else "the model gateway is not available for now"
    body = {"type": "error", "error": {"type": _TYPES.get(status, "api_error"), "message": f"jelmore: {shown}"}}
    return JSONResponse(body, status)
