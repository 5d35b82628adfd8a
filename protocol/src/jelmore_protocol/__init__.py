"""The protocol between a session's runner, its manager and the people who connect: one definition for all sides.

Nothing here does I/O. The public half (`frames`) is what a WebSocket client of a session sees; the other half
(`control`) is what only the manager may say, on a socket that is never routed.
"""

from typing import Final

from jelmore_protocol.versions import OLDEST_PROTOCOL, PROTOCOL, ProtocolError, negotiated

__all__ = ["OLDEST_PROTOCOL", "PROTOCOL", "ProtocolError", "negotiated"]

SUBPROTOCOL: Final = "jelmore.v1"
"""The WebSocket subprotocol of a session's own URL."""

TOKEN_SUBPROTOCOL_PREFIX: Final = "jelmore.token."  # noqa: S105 - a prefix, not a secret
"""A client that cannot set headers (a browser) offers `jelmore.token.<JWT>` beside `jelmore.v1`."""

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""One frame, one journal line and one line of Claude Code's output are bounded alike, so none can break the next."""

MAX_LINE_BYTES: Final = 1024 * 1024
"""The data of one journal line; larger data is cut, with a mark. An input alone may need more: it is never cut."""

MAX_INPUT_BYTES: Final = 1024 * 1024
"""A single input's text, in UTF-8 bytes."""
