"""What the runner says no to, in the codes of the wire."""

from jelmore_protocol.websocket_server import FrameRefusedError


class RefusedError(FrameRefusedError):
    """A request that had no effect; it becomes an `error` frame or an error answer."""


class AgentStartError(Exception):
    """Claude Code did not come up; the text is what it said."""
