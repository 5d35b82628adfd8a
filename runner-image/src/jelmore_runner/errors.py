"""The runner's errors. Refusals carry an error code of the protocol."""

from jelmore_protocol.websocket_server import FrameRefusedError


class RefusedError(FrameRefusedError):
    """A refused request, which had no effect. Becomes an `error` frame or an error response."""


class AgentStartError(Exception):
    """Claude Code did not start; the text is its output."""
