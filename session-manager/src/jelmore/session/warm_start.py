"""How warm the start of a session was."""

from enum import StrEnum


class WarmStart(StrEnum):
    """Which stage of a warm start served the create of a session."""

    NONE = "none"  # its sandbox was started for it
    RUNNER = "runner"  # it got a member of the warm pool: a sandbox whose runner was up
    CONNECTED = "connected"  # that member's agent was connected already, and fitted
    LOST = "lost"  # it got a member that had ended, so a second sandbox was started for it
