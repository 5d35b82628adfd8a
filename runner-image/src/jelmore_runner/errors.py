"""The runner's error, which carries an error code of the protocol."""

from jelmore_protocol.websocket_server import FrameRefusedError


class RefusedError(FrameRefusedError):
    """A refused request, which had no effect. Becomes an `error` frame or an error response."""
