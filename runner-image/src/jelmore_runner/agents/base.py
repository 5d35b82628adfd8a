"""The interface that the runner calls on an agent. An agent reports to `jelmore_runner.conversation.Conversation`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from jelmore_protocol.control import AgentAhead, Command, Init, McpServer, Prepare, Stop
from jelmore_runner.conversation import Conversation
from jelmore_runner.file_changes import FileChangeReporter
from jelmore_runner.settings import Settings
from jelmore_runner.transcripts import Transcripts


@dataclass(frozen=True, slots=True)
class Exited:
    """How the run ended: the data of the `exited` event, and the cause to report for a running input."""

    cause: str
    data: dict[str, Any]
    error: str | None
    exit_code: int | None


class LiveAgent(Protocol):
    """A started process of the agent. Each command raises RefusedError when the agent does not carry it out."""

    async def interrupt(self) -> None:
        """Stop the running turn and return when it has ended. Does nothing when no turn is running."""

    async def set_model(self, model: str) -> None:
        """Change the model, from the next request on."""

    async def set_permission_mode(self, mode: str) -> None:
        """Change which tools need a permission."""

    async def set_effort(self, effort: str) -> None:
        """Change how much effort the model puts into its answers, from the next request on."""

    async def commands(self) -> list[Command]:
        """Return the slash commands that an input may begin with."""

    async def mcp_servers(self) -> list[McpServer]:
        """Return the MCP servers with their state."""

    async def reconnect_mcp(self, name: str) -> None:
        """Connect to an MCP server again."""

    async def toggle_mcp(self, name: str, *, enabled: bool) -> None:
        """Use an MCP server, or do not, until the process ends."""

    async def rewind(self, input_id: str, between: Callable[[], Awaitable[None]]) -> None:
        """Forget this input and all that follows it in the conversation.

        The agent's process is replaced for it; `between` is called while there is none. Returns before the next one
        takes inputs. Raises RefusedError, also that of `between`; the conversation is then as it was.
        """


class AgentRun(Protocol):
    """Runs the agent, and restarts it where that helps, until it is stopped or fails for good."""

    @property
    def live(self) -> LiveAgent | None:
        """The agent while its process takes commands, else None."""

    @property
    def pid(self) -> int | None:
        """The pid of the agent's process while it runs, else None."""

    async def run(self) -> Exited:
        """Return how the run ended, after all processes of the agent have ended. Called once."""

    def stop(self, stop: Stop) -> None:
        """End the current process and start no other. Returns at once. May be called before `run`."""


class AgentsAhead(Protocol):
    """An agent that is started before its session is there. An `AgentFactory` may take it over."""

    @property
    def state(self) -> AgentAhead:
        """What there is now, or what has become of it."""

    @property
    def pid(self) -> int | None:
        """The pid of its process while that waits for the session, else None."""

    def want(self, prepare: Prepare, gateway_port: int, egress_port: int) -> None:
        """Have an agent that is started like this. Returns at once; may run any number of times."""

    def check(self) -> None:
        """Begin to ask its process whether it answers, as the session is there. Returns at once; may run twice."""

    async def quiet(self) -> None:
        """Return when it makes no calls of its own, which are refused. Its calls after that are the session's."""

    async def end(self) -> None:
        """End its process, if it waits; the session does not get it. May run any number of times."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """Everything an agent is started with."""

    settings: Settings
    init: Init
    session: Conversation
    files: FileChangeReporter
    gateway_port: int  # the port of the forwarder to the model API, on loopback
    resume: bool  # there is a conversation to resume
    on_ready: Callable[[], None]  # called each time a process of the agent has started
    transcripts: Transcripts
    egress_port: int = 0  # the port of the proxy to other hosts, on loopback; 0 without one
    ahead: AgentsAhead | None = None  # what was started ahead for this session alone; None: nothing may be taken over


type AgentFactory = Callable[[AgentContext], AgentRun]
