"""Every error we raise has a status, and every answer the same shape."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from starlette.requests import Request

from jelmore.api import problems
from jelmore.api.closing import close_code_of, error_code_of
from jelmore.api.rates import RateLimitedError
from jelmore.session import errors
from jelmore.session.errors import JelmoreError
from jelmore.session.record import Failure
from jelmore_protocol.frames import CloseCode, ErrorCode


def all_errors() -> Iterator[type[JelmoreError]]:
    waiting: list[type[JelmoreError]] = [JelmoreError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == errors.__name__:
            yield kind
        waiting += kind.__subclasses__()


def test_every_error_of_the_tree_is_in_the_table() -> None:
    missing = {kind.__name__ for kind in all_errors()} - {kind.__name__ for kind in problems._TABLE}
    assert not missing


def request(path: str = "/api/v1/sessions") -> Request:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"secret=1",
        "headers": [(b"host", b"test")],
        "state": {"request_id": "r1"},
    }
    return Request(scope)


def answer(error: JelmoreError) -> tuple[int, dict[str, str], dict[str, Any]]:
    response = problems.problem_of(error, request())
    return response.status_code, dict(response.headers), json.loads(bytes(response.body))


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (errors.InvalidRequestError("limits.cpus: too many"), 422, "invalid", None),
        (errors.TooLargeError("x"), 413, "too_large", None),
        (errors.UnknownSessionError("x"), 404, "unknown_session", None),
        (errors.UnknownRequestError("x"), 404, "unknown_request", None),
        (errors.UnauthenticatedError("x"), 401, "unauthenticated", "www-authenticate"),
        (errors.ForbiddenError("x"), 403, "forbidden", None),
        (errors.ConflictError("x"), 409, "conflict", None),
        (errors.SessionEndedError("x"), 409, "session_ended", None),
        (errors.AlreadyAnsweredError("x"), 409, "already_answered", None),
        (errors.IdempotencyMismatchError("x"), 422, "idempotency_mismatch", None),
        (errors.CapacityError("x", retry_after_s=7), 429, "capacity", "retry-after"),
        (RateLimitedError("x", retry_after_s=7), 429, "rate_limited", "retry-after"),
        (errors.DependencyError("postgres", "x"), 503, "dependency_away", "retry-after"),
        (errors.RefusedError("docker", "no image"), 503, "refused", None),
        (errors.StaleError("x"), 503, "stale", "retry-after"),
        (problems.MediaTypeError("x"), 415, "unsupported_media_type", None),
    ],
)
def test_the_answer_to_an_error(error: JelmoreError, status: int, code: str, header: str | None) -> None:
    got, headers, body = answer(error)
    assert got == body["status"] == status
    assert body["code"] == code
    assert body["type"].endswith(code)
    assert body["detail"] == str(error)
    assert body["instance"] == "/api/v1/sessions"
    assert body["request_id"] == "r1"
    assert headers["content-type"] == "application/problem+json"
    assert ("retry-after" in headers) == (header == "retry-after")
    assert ("www-authenticate" in headers) == (header == "www-authenticate")


def test_an_invalid_value_is_named() -> None:
    _, _, body = answer(errors.InvalidRequestError("limits.cpus: must be less"))
    assert body["errors"] == [{"field": "limits.cpus", "message": "must be less"}]
    _, _, body = answer(errors.InvalidRequestError("just wrong: really"))
    assert body["errors"] == [{"field": "", "message": "just wrong: really"}]


def test_a_fault_of_ours_keeps_its_words() -> None:
    status, _, body = answer(errors.IllegalMoveError(uuid4(), "active", "readied"))
    assert status == 500
    assert "readied" not in str(body)


def test_a_failed_start_says_what_its_container_said() -> None:
    failure = Failure("starting", "no such model", exit_code=3, oom=False, log_tail=("last words",))
    status, _, body = answer(errors.StartFailedError("s", "no such model", failure))
    assert status == 503
    assert body["failure"] == {
        "error": "no such model",
        "phase": "starting",
        "exit_code": 3,
        "oom": False,
        "log_tail": ["last words"],
    }


@pytest.mark.parametrize(
    ("error", "close", "word"),
    [
        (errors.UnauthenticatedError("x"), CloseCode.UNAUTHENTICATED, ErrorCode.FORBIDDEN),
        (errors.ForbiddenError("x"), CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN),
        (errors.UnknownSessionError("x"), CloseCode.UNKNOWN_SESSION, ErrorCode.ENDED),
        (errors.DependencyError("x", "y"), CloseCode.TRY_LATER, ErrorCode.UNAVAILABLE),
        (errors.SessionEndedError("x"), CloseCode.TRY_LATER, ErrorCode.ENDED),
        (errors.AlreadyAnsweredError("x"), CloseCode.TRY_LATER, ErrorCode.CONFLICT),
        (RateLimitedError("x"), CloseCode.TRY_LATER, ErrorCode.QUEUE_FULL),
        (errors.TooLargeError("x"), CloseCode.TRY_LATER, ErrorCode.INPUT_TOO_LARGE),
    ],
)
def test_what_an_error_means_on_a_websocket(error: JelmoreError, close: CloseCode, word: ErrorCode) -> None:
    assert close_code_of(error) is close
    assert error_code_of(error) is word


def test_a_fault_has_no_word_of_its_own_on_a_websocket() -> None:
    assert error_code_of(errors.FaultError("inner")) is None
