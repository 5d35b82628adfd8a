"""What the runner says no to, in the codes of the wire."""

from jelmore_protocol.frames import ErrorCode


class RefusedError(Exception):
    """A request that had no effect; it becomes an `error` frame or an error answer."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class AgentStartError(Exception):
    """Claude Code did not come up; the text is what it said."""
