"""Which error closes a WebSocket with which code, or answers a frame with which word."""

from collections.abc import Mapping
from typing import Final

from jelmore.session import errors
from jelmore.session.errors import JelmoreError
from jelmore_protocol.frames import CloseCode, ErrorCode

_CLOSES: Final[Mapping[type[JelmoreError], CloseCode]] = {
    errors.UnauthenticatedError: CloseCode.UNAUTHENTICATED,
    errors.ForbiddenError: CloseCode.FORBIDDEN,
    errors.UnknownSessionError: CloseCode.UNKNOWN_SESSION,
    JelmoreError: CloseCode.TRY_LATER,
}

_ANSWERS: Final[Mapping[type[JelmoreError], ErrorCode]] = {
    errors.InvalidRequestError: ErrorCode.INPUT_EMPTY,  # what a well-formed frame can still have wrong
    errors.TooLargeError: ErrorCode.INPUT_TOO_LARGE,
    errors.UnauthenticatedError: ErrorCode.FORBIDDEN,
    errors.ForbiddenError: ErrorCode.FORBIDDEN,
    errors.UnknownSessionError: ErrorCode.ENDED,  # forgotten while somebody was connected
    errors.UnknownRequestError: ErrorCode.UNKNOWN_REQUEST,
    errors.SessionEndedError: ErrorCode.ENDED,
    errors.ConflictError: ErrorCode.CONFLICT,
    errors.CapacityError: ErrorCode.QUEUE_FULL,
    errors.DependencyError: ErrorCode.UNAVAILABLE,
    errors.RefusedError: ErrorCode.UNAVAILABLE,
    errors.StaleError: ErrorCode.UNAVAILABLE,
}


def close_code_of(error: JelmoreError) -> CloseCode:
    """Return the code to close with."""
    return next(_CLOSES[kind] for kind in type(error).__mro__ if kind in _CLOSES)


def error_code_of(error: JelmoreError) -> ErrorCode | None:
    """Return the word for an `error` frame; None for a fault of our own, whose text stays inside."""
    return next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), None)
