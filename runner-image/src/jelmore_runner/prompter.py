"""What the conversation calls on the agent."""

from typing import Protocol

from jelmore_protocol.control import InputRequest


class Prompter(Protocol):
    """What the conversation calls on the agent."""

    def prompt(self, request: InputRequest, mark: int) -> None:
        """Give the prompt to Claude Code once event `mark` is durable. Does not block."""
