"""Maps errors to WebSocket close codes, and to the codes of `error` frames."""

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
    errors.InvalidRequestError: ErrorCode.INPUT_EMPTY,  # the only value of a well-formed frame that can be invalid
    errors.TooLargeError: ErrorCode.INPUT_TOO_LARGE,
    errors.UnauthenticatedError: ErrorCode.FORBIDDEN,
    errors.ForbiddenError: ErrorCode.FORBIDDEN,
    errors.UnknownSessionError: ErrorCode.ENDED,  # deleted while a client was connected
    errors.UnknownRequestError: ErrorCode.UNKNOWN_REQUEST,
    errors.SessionEndedError: ErrorCode.ENDED,
    errors.ConflictError: ErrorCode.CONFLICT,
    errors.CapacityError: ErrorCode.QUEUE_FULL,
    errors.DependencyError: ErrorCode.UNAVAILABLE,
    errors.RefusedError: ErrorCode.UNAVAILABLE,
    errors.StaleError: ErrorCode.UNAVAILABLE,
}


def close_code_of(error: JelmoreError) -> CloseCode:
    """Return the code to close the WebSocket with."""
    return next(_CLOSES[kind] for kind in type(error).__mro__ if kind in _CLOSES)


def error_code_of(error: JelmoreError) -> ErrorCode | None:
    """Return the code for an `error` frame; None for an internal fault, whose text must not be sent."""
    return next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), None)
