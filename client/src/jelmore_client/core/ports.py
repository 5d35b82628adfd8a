"""What the frames and close codes of a port's WebSocket mean. No I/O."""

from typing import Final

from jelmore_client.errors import ConnectionFailedError, JelmoreError, Problem, error_of

END: Final = "end"
"""The text frame that ends one direction."""

MAX_FRAME_BYTES: Final = 64 * 1024
OPEN_TIMEOUT_S: Final = 120.0
"""A hibernated session is resumed first."""

_IN_ORDER: Final = 1000
_STATUS_OF_CLOSE: Final = {4401: 401, 4403: 403, 4404: 404}
_MAX_PORT: Final = 65535


def closed_error(code: int, reason: str) -> JelmoreError | None:
    """Return the error that a close code stands for; None when the server in the sandbox ended the connection."""
    if code == _IN_ORDER:
        return None
    text = reason or "the connection broke off"
    status = _STATUS_OF_CLOSE.get(code)
    if status is None:
        return ConnectionFailedError(text)
    return error_of(Problem(status, "port_closed", "The connection was closed", text, "", False, None))


def port_pair(text: str) -> tuple[int, int]:
    """Return the port of the session and the local one of `PORT` or `PORT:LOCAL`. Raises ValueError."""
    remote, colon, local = text.partition(":")
    numbers = [_number(remote), _number(local if colon else remote)]
    return numbers[0], numbers[1]


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) <= _MAX_PORT:
        return int(text)
    raise ValueError(f"{text!r} is no port: write PORT or PORT:LOCAL, each from 1 to {_MAX_PORT}")
