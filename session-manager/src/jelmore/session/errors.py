"""All errors that Jelmore raises on purpose. Any other exception that escapes is a bug.

JelmoreError
├── RequestError            the caller can correct it
│   ├── InvalidRequestError → RepositoryError
│   ├── UnauthenticatedError · ForbiddenError
│   ├── UnknownSessionError · UnknownRequestError · NotFoundError
│   ├── TooLargeError · WorkspaceSpaceError · PreconditionError · IdempotencyMismatchError
│   ├── ConflictError → SessionEndedError · AlreadyAnsweredError · WorkspaceFullError
│   └── CapacityError · DrainingError    not now; the same call may succeed later
├── DependencyError         a dependency is unavailable; a retry may succeed
├── RefusedError            a dependency refuses permanently (a missing image, a bad option)
│   └── WorkspaceLostError · StartFailedError
└── FaultError              a fault of Jelmore, or a lost race: IllegalMoveError · StaleError
"""

from typing import ClassVar, Final
from uuid import UUID

URN: Final = "urn:jelmore:problem:"
"""The prefix of a code that is published as a URI."""


class JelmoreError(Exception):
    """The base class. `code` is stable and public; `retryable` says whether the same call may succeed later."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False


class RequestError(JelmoreError):
    """The request cannot be carried out as it was sent."""

    code = "bad_request"


class InvalidRequestError(RequestError):
    """A value is out of bounds; the message names the field."""

    code = "invalid"


class RepositoryError(InvalidRequestError):
    """A repository cannot be fetched or pushed to; the message names the field or says what git said."""

    code = "repository_failed"


class TooLargeError(RequestError):
    """A body or an input is larger than the server accepts."""

    code = "too_large"


class WorkspaceSpaceError(RequestError):
    """The content does not fit into what is left of the workspace's disk."""

    code = "no_room"


class PreconditionError(RequestError):
    """An If-Match or If-None-Match of the request does not hold."""

    code = "precondition_failed"


class UnknownSessionError(RequestError):
    """The session does not exist or the caller may not see it. The two cases are not distinguished, on purpose."""

    code = "unknown_session"

    def __init__(self, session_id: object) -> None:
        super().__init__(f"there is no session {session_id}")


class UnknownRequestError(RequestError):
    """There is no such pending permission or question."""

    code = "unknown_request"


class NotFoundError(RequestError):
    """What the path names does not exist or the caller may not see it. For sessions see UnknownSessionError."""

    code = "not_found"


class UnauthenticatedError(RequestError):
    """The key or token is missing or invalid."""

    code = "unauthenticated"


class ForbiddenError(RequestError):
    """The key or token is valid but does not permit this."""

    code = "forbidden"


class ConflictError(RequestError):
    """The state of the session does not permit this."""

    code = "conflict"


class SessionEndedError(ConflictError):
    """The session has ended; `POST …/resume` starts it again."""

    code = "session_ended"

    def __init__(self, session_id: object) -> None:
        super().__init__(f"session {session_id} has ended; POST …/resume starts it again")


class AlreadyAnsweredError(ConflictError):
    """Another caller has answered already."""

    code = "already_answered"


class WorkspaceFullError(ConflictError):
    """The workspace is far above its limit. Delete files or raise the limit; then the session accepts input again."""

    code = "workspace_full"


class DrainingError(RequestError):
    """An operator drains the installation: no session and no turn starts until that is undone."""

    code = "draining"
    retryable = True

    def __init__(self) -> None:
        super().__init__("the installation is being drained by its operator; try again later")


class IdempotencyMismatchError(RequestError):
    """The idempotency key was used before with a different body."""

    code = "idempotency_mismatch"


class CapacityError(RequestError):
    """The deployment is at capacity. `retry_after_s` is an estimate of when a retry may succeed."""

    code = "capacity"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DependencyError(JelmoreError):
    """A dependency did not answer in time, or at all. Whether it carried out the call is unknown."""

    code = "dependency_away"
    retryable = True

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(f"{dependency}: {message}")
        self.dependency = dependency


class RefusedError(JelmoreError):
    """A dependency refuses permanently; a retry of the same call fails again."""

    code = "refused"

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(f"{dependency}: {message}")
        self.dependency = dependency


class WorkspaceLostError(RefusedError):
    """The volume of a session that has run before is missing. Jelmore does not replace it by an empty one."""

    code = "workspace_lost"

    def __init__(self, session_id: object) -> None:
        super().__init__("session", f"the workspace of session {session_id} is gone; create a new session")


class StartFailedError(RefusedError):
    """The session could not start. `failure` holds the phase and the last lines that the container printed."""

    code = "start_failed"

    def __init__(self, session_id: object, message: str, failure: object) -> None:
        super().__init__("session", f"{session_id} could not start: {message}")
        self.failure = failure


class FaultError(JelmoreError):
    """A fault of Jelmore, or a lost race that the calling code expects."""


class IllegalMoveError(FaultError):
    """The table of moves does not allow this fact in this state."""

    code = "illegal_move"

    def __init__(self, session_id: UUID, status: object, fact: object) -> None:
        super().__init__(f"session {session_id}: {fact} is not possible while {status}")


class StaleError(FaultError):
    """The record was written by another task or manager since it was loaded. Drop this result and load it again."""

    code = "stale"
    retryable = True
