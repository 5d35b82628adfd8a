"""The protocol between runner, manager and clients of a session, defined once for all of them.

`frames` defines the public WebSocket of a session. `control` defines the calls that only the manager may make, on a
socket without a route. These modules do no I/O; only `websocket_server` does.
"""

from typing import Final

from jelmore_protocol.versions import OLDEST_PROTOCOL, PROTOCOL, ProtocolError, negotiated

__all__ = ["OLDEST_PROTOCOL", "PROTOCOL", "ProtocolError", "negotiated"]

SUBPROTOCOL: Final = "jelmore.v1"
"""The WebSocket subprotocol of a session's own URL."""

TOKEN_SUBPROTOCOL_PREFIX: Final = "jelmore.token."  # noqa: S105 - a prefix, not a secret
"""A client that cannot set headers (a browser) offers `jelmore.token.<JWT>` in addition to `jelmore.v1`."""

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""The bound of a frame, a journal line and a line of Claude Code's output: what fits one of them fits the next."""

MAX_LINE_BYTES: Final = 1024 * 1024
"""The bound of the data of a journal line. Larger data is cut and marked, except for inputs, which are never cut."""

MAX_INPUT_BYTES: Final = 1024 * 1024
"""The bound of the text of an input, in UTF-8 bytes."""
