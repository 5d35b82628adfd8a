"""The one tree of errors that Jelmore raises on purpose. Anything else that escapes is a bug.

JelmoreError
├── RequestError            the caller can mend it
│   ├── InvalidRequestError · UnknownSessionError · ForbiddenError · UnauthenticatedError
│   ├── ConflictError → SessionEndedError · AlreadyAnsweredError · WorkspaceFullError
│   ├── IdempotencyMismatchError
│   └── CapacityError       too many now; says when to try again
├── DependencyError         bad luck: something outside is away; retrying helps
├── RefusedError            something outside said no for good (a missing image, a bad option)
│   └── WorkspaceLostError · StartFailedError
└── FaultError              our own fault: IllegalMoveError · StaleError
"""

from typing import ClassVar, Final
from uuid import UUID

URN: Final = "urn:jelmore:problem:"
"""What stands before a code where it is published as a URI."""


class JelmoreError(Exception):
    """Base of the tree. `code` is stable and public; `retryable` tells whether the same call may succeed later."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False


class RequestError(JelmoreError):
    """What the caller asked for cannot be done as asked."""

    code = "bad_request"


class InvalidRequestError(RequestError):
    """A value is out of bounds; the text names the field."""

    code = "invalid"


class TooLargeError(RequestError):
    """A body or an input is larger than this server takes."""

    code = "too_large"


class UnknownSessionError(RequestError):
    """No such session, or not one that this caller may see. Both look alike on purpose."""

    code = "unknown_session"

    def __init__(self, session_id: object) -> None:
        super().__init__(f"there is no session {session_id}")


class UnknownRequestError(RequestError):
    """No such pending permission or question."""

    code = "unknown_request"


class UnauthenticatedError(RequestError):
    """No key or token, or not a valid one."""

    code = "unauthenticated"


class ForbiddenError(RequestError):
    """A genuine key or token that may not do this."""

    code = "forbidden"


class ConflictError(RequestError):
    """The session is not in a state for this."""

    code = "conflict"


class SessionEndedError(ConflictError):
    """The session has ended; `POST …/resume` starts it again."""

    code = "session_ended"

    def __init__(self, session_id: object) -> None:
        super().__init__(f"session {session_id} has ended; POST …/resume starts it again")


class AlreadyAnsweredError(ConflictError):
    """Somebody else answered first."""

    code = "already_answered"


class WorkspaceFullError(ConflictError):
    """The workspace is far above its limit: delete files or raise the limit, then the session takes input again."""

    code = "workspace_full"


class IdempotencyMismatchError(RequestError):
    """The idempotency key was used before with another body."""

    code = "idempotency_mismatch"


class CapacityError(RequestError):
    """Too many for now. `retry_after_s` is a guess at when it is worth another try."""

    code = "capacity"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DependencyError(JelmoreError):
    """Something outside did not answer, or not in time. Nothing is known to have happened there."""

    code = "dependency_away"
    retryable = True

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(f"{dependency}: {message}")
        self.dependency = dependency


class RefusedError(JelmoreError):
    """Something outside refused for good; trying the same again is useless."""

    code = "refused"

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(f"{dependency}: {message}")
        self.dependency = dependency


class WorkspaceLostError(RefusedError):
    """The volume of a session that has run before is gone. It is never replaced by an empty one."""

    code = "workspace_lost"

    def __init__(self, session_id: object) -> None:
        super().__init__("session", f"the workspace of session {session_id} is gone; create a new session")


class StartFailedError(RefusedError):
    """The session could not start. `failure` says at which phase, and what its container printed last."""

    code = "start_failed"

    def __init__(self, session_id: object, message: str, failure: object) -> None:
        super().__init__("session", f"{session_id} could not start: {message}")
        self.failure = failure


class FaultError(JelmoreError):
    """Our own fault, or a lost race that the caller is written to expect."""


class IllegalMoveError(FaultError):
    """A fact that the table of moves does not allow in this state."""

    code = "illegal_move"

    def __init__(self, session_id: UUID, status: object, fact: object) -> None:
        super().__init__(f"session {session_id}: {fact} is not possible while {status}")


class StaleError(FaultError):
    """Somebody newer wrote the record; drop this result and look again."""

    code = "stale"
    retryable = True
