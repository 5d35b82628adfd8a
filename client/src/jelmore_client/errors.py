"""The client's errors. A program decides by class or by `code`, which is stable, never by the text.

JelmoreError
├── ConnectionFailedError   no answer: the server is away, or a deadline passed → CertificateError
├── ProtocolError           an answer that this client cannot read
├── StreamGapError          part of the requested output or events is no longer available
├── NeedsAnswerError        a turn waits for a permission or an answer, and nobody was given to answer it
└── ApiError                the server refused (RFC 9457 problem)
    ├── InvalidRequestError (400, 413, 422) · UnauthenticatedError (401) · ForbiddenError (403)
    ├── NotFoundError (404) · ConflictError (409) → SessionEndedError
    ├── CapacityError (429)
    └── ServerError (5xx)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jelmore_client.core.trust import certificate_problem


class JelmoreError(Exception):
    """The base class. `retryable` says whether the same call may succeed later."""

    retryable: bool = False


class ConnectionFailedError(JelmoreError):
    """The server did not answer. Whether it carried out the request is unknown."""

    retryable = True


class CertificateError(ConnectionFailedError):
    """The server's certificate is not trusted. Nothing was sent."""

    retryable = False


class ProtocolError(JelmoreError):
    """The answer is not what Jelmore's API sends. Is the URL right?"""


class StreamGapError(JelmoreError):
    """What came after `after` is missing: the stored output, or the event log, starts later."""

    def __init__(self, after: int) -> None:
        super().__init__(
            f"what came after {after} is not complete here: it is stored no longer, or {after} has not been reached "
            "yet; read from 0 to get what is stored"
        )
        self.after = after


class NeedsAnswerError(JelmoreError):
    """The turn waits for a permission or an answer. `pending` is the request; answer it with `session.answer`."""

    def __init__(self, pending: Any) -> None:
        super().__init__(f"the agent waits for an answer: {pending.title}; answer request {pending.request_id}")
        self.pending = pending
        self.session_id: str | None = None
        """The session, where the raiser names it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of a refusal. `fields` are (field, message) of each invalid value."""

    status: int
    code: str
    title: str
    detail: str
    request_id: str
    retryable: bool
    retry_after_s: float | None
    fields: Sequence[tuple[str, str]] = ()


class ApiError(JelmoreError):
    """The server refused the request. `problem` has the details."""

    def __init__(self, problem: Problem) -> None:
        text = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
        super().__init__(f"{text} [{problem.status} {problem.code}]")
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.request_id = problem.request_id
        self.retryable = problem.retryable
        self.retry_after_s = problem.retry_after_s


class InvalidRequestError(ApiError):
    """A value cannot be used; `problem.fields` names each."""


class UnauthenticatedError(ApiError):
    """The API key is missing, wrong, expired or revoked."""


class ForbiddenError(ApiError):
    """The API key does not allow this."""


class NotFoundError(ApiError):
    """It does not exist, or this key may not see it."""


class ConflictError(ApiError):
    """The state of the session does not allow this."""


class SessionEndedError(ConflictError):
    """The session has ended; `session.resume()` starts it again."""


class CapacityError(ApiError):
    """No capacity or too many requests for now. `retry_after_s` says when to try again."""


class ServerError(ApiError):
    """The server or a part behind it failed."""


_BY_CODE: Final[Mapping[str, type[ApiError]]] = {"session_ended": SessionEndedError}
_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    400: InvalidRequestError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: CapacityError,
}


_LARGE_BYTES: Final = 1024 * 1024
"""A server answers a body that is too large before it has read it; the answer is lost when the connection breaks."""


def error_of(problem: Problem) -> ApiError:
    """Return the error of a problem."""
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(problem.status)
    if kind is None:
        kind = ServerError if problem.status >= 500 else ApiError  # noqa: PLR2004 - the 5xx statuses
    return kind(problem)


def ended_early(session_id: str) -> SessionEndedError:
    """Return the error of a turn whose session has ended before it."""
    detail = f"session {session_id} ended before the turn did"
    return SessionEndedError(Problem(409, "session_ended", "The session has ended", detail, "", False, None))


def _body_bytes(error: Exception) -> int:
    """Return the size of the JSON whose sending or answer broke off; 0 when nothing was connected or nobody knows.

    Files that are uploaded may be large; a connection that breaks says nothing about their size.
    """
    if type(error).__name__ not in {"ReadError", "WriteError", "RemoteProtocolError"}:
        return 0
    request = getattr(error, "_request", None)  # of httpx; its property raises where there is none
    headers = {} if request is None else request.headers
    is_json = headers.get("content-type") == "application/json"
    declared = str(headers.get("content-length", "")) if is_json else ""
    return int(declared) if declared.isdecimal() else 0


def connection_failed(url: str, error: Exception) -> ConnectionFailedError:
    """Return the error of a server at `url` that could not be reached, or broke off."""
    refused = certificate_problem(error)
    if refused is not None:
        return CertificateError(
            f"{url} has a certificate that is not trusted here ({refused}). If its authority is your own, set "
            "SSL_CERT_FILE to a file with the authority's certificate, or install that on this machine: see "
            "docs/guides/team-server.md"
        )
    reason = str(error) or type(error).__name__
    sent_bytes = _body_bytes(error)
    if sent_bytes >= _LARGE_BYTES:
        return ConnectionFailedError(
            f"{url} broke off while it was sent {sent_bytes / 1_000_000:.0f} MB ({reason}); it may not take so much at "
            "once: large files go into the workspace, as docs/files.md says"
        )
    return ConnectionFailedError(f"{url} does not answer: {reason}. Is the server running, and JELMORE_URL right?")
