"""Error responses: RFC 9457 `application/problem+json` with a stable `code`.

`_TABLE` maps error classes to HTTP statuses; no other module does.
"""

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from jelmore.api.failures import TooManyFailuresError
from jelmore.api.rates import RateLimitedError
from jelmore.session import errors
from jelmore.session.errors import URN, CapacityError, JelmoreError
from jelmore.session.record import Failure, failure_payload

_log = structlog.get_logger(__name__)

_MAX_SHOWN: Final = 256
_UNION: Final = re.compile(
    r"(?:function-(?:after|before|wrap|plain)|tagged-union|list|literal|nullable)\[.*\]", re.DOTALL
)
"""What pydantic puts into the place of an error for an alternative of a union: names of our functions, no field."""

_OTHER_KIND: Final = frozenset({"string_type", "list_type", "dict_type"})

DEPENDENCY_RETRY_AFTER_S: Final = 5
STALE_RETRY_AFTER_S: Final = 1

_TABLE: Final[Mapping[type[JelmoreError], tuple[int, str]]] = {
    errors.JelmoreError: (500, "Internal error"),
    errors.RequestError: (400, "Bad request"),
    errors.InvalidRequestError: (422, "Invalid request"),
    errors.RepositoryError: (422, "The repository could not be used"),
    errors.TooLargeError: (413, "Too large"),
    errors.WorkspaceSpaceError: (507, "No space left in the workspace"),
    errors.PreconditionError: (412, "Precondition failed"),
    errors.UnknownSessionError: (404, "Unknown session"),
    errors.UnknownRequestError: (404, "Unknown request or input"),
    errors.NotFoundError: (404, "Not found"),
    errors.UnauthenticatedError: (401, "Not authenticated"),
    errors.ForbiddenError: (403, "Forbidden"),
    errors.ConflictError: (409, "Conflict"),
    errors.SessionEndedError: (409, "The session has ended"),
    errors.AlreadyAnsweredError: (409, "Already answered"),
    errors.WorkspaceFullError: (409, "The workspace is full"),
    errors.IdempotencyMismatchError: (422, "Idempotency key used with another request"),
    errors.DrainingError: (503, "Draining"),
    errors.CapacityError: (429, "No capacity for now"),
    RateLimitedError: (429, "Too many requests"),
    TooManyFailuresError: (429, "Too many wrong keys"),
    errors.DependencyError: (503, "A part of the system is away"),
    errors.RefusedError: (503, "A part of the system refused"),
    errors.WorkspaceLostError: (409, "The workspace is gone"),
    errors.StartFailedError: (503, "The session could not start"),
    errors.FaultError: (500, "Internal error"),
    errors.IllegalMoveError: (500, "Internal error"),
    errors.StaleError: (503, "Somebody else changed it at the same moment"),
}
"""The first class of an error's method resolution order that is in the table decides."""

_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
}


class MediaTypeError(errors.RequestError):
    """The body is not declared as JSON."""

    code: ClassVar[str] = "unsupported_media_type"


class FieldError(BaseModel):
    """An invalid value."""

    field: str = Field(description="Where it is: `limits.cpus`, or empty for the body as a whole.")
    message: str


class Problem(BaseModel):
    """An error response (RFC 9457)."""

    type: str = Field(examples=["urn:jelmore:problem:session_ended"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; programs decide by this.", examples=["session_ended"])
    instance: str = Field(description="The path that was asked.")
    request_id: str
    retryable: bool = Field(default=False, description="Whether the same request may succeed later.")
    errors: list[FieldError] | None = Field(default=None, description="With 422: each value that cannot be used.")
    failure: dict[str, Any] | None = Field(
        default=None, description="With start_failed: phase, exit code, and what the container printed last."
    )


def status_of(error: JelmoreError) -> tuple[int, str]:
    """Return the HTTP status and title of an error."""
    if isinstance(error, MediaTypeError):
        return 415, "Unsupported media type"
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)


def problem_of(error: JelmoreError, request: HTTPConnection) -> Response:
    """Convert a JelmoreError to a response. The text of an internal error (500) is not sent."""
    status, title = status_of(error)
    detail = str(error) if status != HTTPStatus.INTERNAL_SERVER_ERROR else _HIDDEN
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="jelmore"'
    retry_after_s = _retry_after_s(error)
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    fields = [_field_of(str(error))] if isinstance(error, errors.InvalidRequestError) else None
    more = {"retryable": error.retryable, "errors": fields, "failure": _failure_of(error)}
    return respond(make(request, status, error.code, title, detail).model_copy(update=more), headers)


def make(connection: HTTPConnection, status: int, code: str, title: str, detail: str) -> Problem:
    """Return the body of an error response."""
    return Problem(
        type=URN + code,
        title=title,
        status=status,
        detail=detail,
        code=code,
        instance=connection.url.path,
        request_id=request_id_of(connection),
    )


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response with `problem` as its body. Fields that are None are left out."""
    body = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(body, problem.status, dict(headers or {}), media_type="application/problem+json")


def request_id_of(connection: HTTPConnection) -> str:
    """Return the id of the request, as in the log; empty when it has none."""
    return str(connection.scope.get("state", {}).get("request_id", ""))


def unexpected(request: Request) -> Response:
    """Return the response to an unexpected exception. It has the request id, but no details."""
    return respond(make(request, 500, "internal", "Internal error", _HIDDEN))


def stopping(request: Request) -> Response:
    """Return the response to a request that the end of this process interrupts."""
    problem = make(request, 503, "dependency_away", "A part of the system is away", _STOPS)
    headers = {"Retry-After": str(STALE_RETRY_AFTER_S), "Connection": "close"}
    return respond(problem.model_copy(update={"retryable": True}), headers)


def install(app: FastAPI) -> None:
    """Add the handlers that convert every error of `app` to a problem."""
    app.add_exception_handler(JelmoreError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


_STOPS: Final = "the session manager stops, before this was done; read what became of it, or try again"
_HIDDEN: Final = "something went wrong on our side; the log has it under this request_id"


async def _on_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, JelmoreError)  # noqa: S101 - registered for this class only
    status, _ = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fault = error if status == HTTPStatus.INTERNAL_SERVER_ERROR else None
        _log.error("request_failed", code=error.code, error=str(error), exc_info=fault)
    return problem_of(error, request)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    fields = [_field_error(found) for found in _of_the_given_kind(error.errors())]
    detail = "; ".join(f"{each.field}: {each.message}" if each.field else each.message for each in fields[:3])
    problem = make(request, 422, "invalid", "Invalid request", detail)
    return respond(problem.model_copy(update={"errors": fields}))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _CODES.get(error.status_code, "http_error")
    title = HTTPStatus(error.status_code).phrase
    return respond(make(request, error.status_code, code, title, str(error.detail)), error.headers)


def _retry_after_s(error: JelmoreError) -> int | None:
    if isinstance(error, CapacityError):
        return max(1, math.ceil(error.retry_after_s))
    if isinstance(error, errors.DependencyError | errors.DrainingError):
        return DEPENDENCY_RETRY_AFTER_S
    if isinstance(error, errors.StaleError):
        return STALE_RETRY_AFTER_S
    return None


def _failure_of(error: JelmoreError) -> dict[str, Any] | None:
    if isinstance(error, errors.StartFailedError) and isinstance(error.failure, Failure):
        return failure_payload(error.failure)
    return None


def _field_of(text: str) -> FieldError:
    """Parse the text of an InvalidRequestError, which has the form `field: what is wrong`."""
    field, separator, message = text.partition(": ")
    if separator and " " not in field:
        return FieldError(field=field, message=message)
    return FieldError(field="", message=text)


def _field_error(found: Mapping[str, Any]) -> FieldError:
    """Convert an error of pydantic, without the value: it may be a secret, or not representable as JSON."""
    place = list(found.get("loc", ()))
    if found.get("type") == "json_invalid":
        reason = dict(found.get("ctx") or {}).get("error", "")
        return FieldError(field="", message=f"not valid JSON: {reason} (at character {place[-1]})")
    if place and place[0] in {"body", "query", "path", "header"}:
        place = place[1:]
    message = str(found.get("msg", "cannot be used")).removeprefix("Value error, ")
    names = [str(part) for part in place if _UNION.fullmatch(str(part)) is None]
    return FieldError(field=_showable(".".join(names)), message=_showable(message))


def _of_the_given_kind(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out what is wrong with a value as another kind than it is, where one field takes several kinds.

    pydantic reports each alternative of a union, such as a text or a list of blocks, with its name in the place.
    """
    left = [each for each in found if not (each.get("type") in _OTHER_KIND and _is_alternative(each))]
    return left or [*found]


def _is_alternative(found: Mapping[str, Any]) -> bool:
    place = found.get("loc") or ("",)
    return _UNION.fullmatch(str(place[-1])) is not None


def _showable(text: str) -> str:
    """Return text from the caller, such as a field name, as valid UTF-8 of bounded length."""
    return text.encode("utf-8", "replace").decode()[:_MAX_SHOWN]
