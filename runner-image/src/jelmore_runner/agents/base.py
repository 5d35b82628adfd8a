"""What the runner asks of an agent. What an agent reports goes to `jelmore_runner.conversation.Conversation`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from jelmore_protocol.control import Init, Stop
from jelmore_runner.conversation import Conversation
from jelmore_runner.file_notes import FileNotes
from jelmore_runner.settings import Settings


@dataclass(frozen=True, slots=True)
class Exited:
    """How the run ended: the `exited` event's data, and the cause for an input that was running."""

    cause: str
    data: dict[str, Any]
    error: str | None
    exit_code: int | None


class LiveAgent(Protocol):
    """A started process of the agent. Each command raises RefusedError when the agent does not obey."""

    async def interrupt(self) -> None:
        """Stop the running turn and return when it has ended; nothing happens when none runs."""

    async def set_model(self, model: str) -> None:
        """Use another model from the next request on."""

    async def set_permission_mode(self, mode: str) -> None:
        """Change what needs a permission."""


class AgentRun(Protocol):
    """The agent of one run: started, and started again where that helps, until it is stopped or given up."""

    @property
    def live(self) -> LiveAgent | None:
        """The agent while its process takes commands."""

    @property
    def pid(self) -> int | None:
        """The pid of the agent's process while it runs."""

    async def run(self) -> Exited:
        """Return how it ended; nothing of the agent is left then. Called once."""

    def stop(self, stop: Stop) -> None:
        """End the present process and begin no other. Returns at once and may be called before `run`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an agent is started with."""

    settings: Settings
    init: Init
    session: Conversation
    files: FileNotes
    gateway_port: int  # where the model answers, on the loopback interface
    resume: bool  # there is a conversation to go on with
    on_ready: Callable[[], None]  # called each time a process of the agent has started


type AgentFactory = Callable[[Surroundings], AgentRun]
