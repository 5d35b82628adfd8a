"""Refusals in the form of the Messages API, because Claude Code reads them.

A status of 503 with `api_error` makes Claude Code try again for minutes. `overloaded_error` would make it give up after
three in a row, and a `Retry-After` would replace the growing pauses between its retries.
"""

import json

from aiohttp import web


class RefusedError(Exception):
    """A request that is not carried out. `kind` is an error type of the Messages API."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def response(self) -> web.Response:
        """Return the refusal as a response."""
        error = {"type": self.kind, "message": f"jelmore: {self}"}
        return web.Response(
            status=self.status,
            body=json.dumps({"type": "error", "error": error}).encode(),
            content_type="application/json",
        )


def unavailable(message: str) -> RefusedError:
    """Return the refusal of a call that may succeed later."""
    return RefusedError(503, "api_error", message)


def forbidden(message: str) -> RefusedError:
    """Return the refusal of a call that never succeeds."""
    return RefusedError(403, "permission_error", message)


def too_large(message: str) -> RefusedError:
    """Return the refusal of a body that is too large."""
    return RefusedError(413, "request_too_large", message)
