"""Words that the protocol and the manager's pure core share. Nothing but the standard library is imported here."""

from enum import StrEnum
from typing import Final, Literal

VOLUME: Final = "/session"
"""Where a session's volume is mounted. Paths of options lie in its workspace or home."""

PermissionMode = Literal["default", "acceptEdits", "plan", "bypassPermissions", "dontAsk", "auto"]
"""Which tools need a permission. In `auto`, a model decides instead of a person."""


class WaitingFor(StrEnum):
    """What the agent waits for while its state is `waiting_input`."""

    PROMPT = "prompt"
    PERMISSION = "permission"
    QUESTION = "question"
    BUDGET = "budget"  # inputs wait until the budget is raised
    EGRESS = "egress"  # a connection to another host waits until a person allows it
