"""The control API of the runner inside a sandbox."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from jelmore.session.errors import FaultError
from jelmore.session.output import Output
from jelmore.session.world import ControlAddress
from jelmore_protocol.control import (
    AnswerWithin,
    Budget,
    CancelInput,
    Change,
    ChangeInput,
    Commands,
    Draining,
    EgressAsk,
    EgressOutcome,
    Health,
    Init,
    InputAccepted,
    InputRequest,
    McpReconnect,
    McpServers,
    McpToggle,
    OutputLimits,
    PermissionAnswer,
    Prepare,
    Queue,
    Revoke,
    Stop,
    WorkspaceLimit,
)
from jelmore_protocol.rewinding import RewindRequest


class RelayBreak(Exception):  # noqa: N818 - an event of the relay, not a fault
    """The relay's connection ended. Attach again, starting at the stored seq."""


class BrokenOutputError(FaultError):
    """The runner's output cannot be followed: its seqs do not continue the stored ones."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message that is still being written, as the frame's JSON text."""

    text: str


@dataclass(frozen=True, slots=True)
class PublicClients:
    """Who is connected to a session's own URL, as its runner says: subjects of tokens, and whether they may write."""

    can_write: Mapping[str, bool]


class Runners(Protocol):
    """The manager's calls to a runner on its control socket. `at` comes from `Sandbox.control`.

    A reply that names another session or generation than `at` raises DependencyError, like no reply.

    When the runner refuses, methods raise ConflictError, UnknownRequestError, AlreadyAnsweredError,
    SessionEndedError, TooLargeError, WorkspaceFullError or CapacityError (the queue is full).
    """

    async def health(self, at: ControlAddress) -> Health:
        """Return the state that the runner reports."""

    async def prepare(self, at: ControlAddress, prepare: Prepare) -> Health:
        """Have the agent of a dormant runner started ahead; returns before it is. May run any number of times.

        Raises UnknownRequestError when the runner is too old to have this call.
        """

    async def init(self, at: ControlAddress, init: Init, *, ready_within_s: float = 0) -> Health:
        """Send a dormant runner its identity and options. A second call for the same generation changes nothing.

        Returns when it is ready, after `ready_within_s` seconds at the latest, or at once from an older runner.
        """

    async def input(self, at: ControlAddress, request: InputRequest) -> InputAccepted:
        """Send a prompt; return when it is journaled. The same id twice is one prompt."""

    async def interrupt(self, at: ControlAddress) -> None:
        """Stop the running turn, if any."""

    async def answer(self, at: ControlAddress, request_id: str, answer: PermissionAnswer) -> InputAccepted:
        """Answer a pending permission or question. The first answer wins."""

    async def ask_egress(self, at: ControlAddress, asked: EgressAsk) -> InputAccepted:
        """Journal that a connection waits for a person. May run twice. Raises ConflictError when it was resolved.

        Raises RefusedError when the runner is too old to have this call.
        """

    async def settle_egress(self, at: ControlAddress, request_id: str, outcome: EgressOutcome) -> InputAccepted:
        """Journal the outcome of a request for a connection. Raises ConflictError when it is journaled already,
        UnknownRequestError when the request is not.
        """

    async def set_model(self, at: ControlAddress, change: Change) -> None:
        """Change the model of the running conversation."""

    async def set_permission_mode(self, at: ControlAddress, change: Change) -> None:
        """Change the permission mode of the running conversation."""

    async def set_effort(self, at: ControlAddress, change: Change) -> None:
        """Change the effort of the running conversation."""

    async def set_answer_within(self, at: ControlAddress, within: AnswerWithin) -> None:
        """Change how long later permissions and questions wait before they are denied."""

    async def rewind(self, at: ControlAddress, wanted: RewindRequest) -> InputAccepted:
        """Take the session back to before a prompt. May run twice. Raises ConflictError; then nothing has changed.

        Raises UnknownRequestError or RefusedError for a runner of an earlier image.
        """

    async def commands(self, at: ControlAddress) -> Commands:
        """Return the slash commands of the running agent."""

    async def mcp_servers(self, at: ControlAddress) -> McpServers:
        """Return the MCP servers of the running agent. Raises RefusedError when the runner is too old."""

    async def reconnect_mcp(self, at: ControlAddress, wanted: McpReconnect) -> None:
        """Connect to an MCP server again. Raises ConflictError when it fails, or there is no such server."""

    async def toggle_mcp(self, at: ControlAddress, wanted: McpToggle) -> None:
        """Enable or disable an MCP server. Raises ConflictError when there is no such server. May run twice."""

    async def attachment(self, at: ControlAddress, attachment_id: str) -> bytes:
        """Return the data of an attachment. Raises UnknownRequestError without one."""

    async def limit_workspace(self, at: ControlAddress, limit: WorkspaceLimit) -> None:
        """Change the size limit of the session's volume. May run any number of times."""

    async def limit_output(self, at: ControlAddress, limits: OutputLimits) -> None:
        """Change how much output is journaled whole. May run any number of times.

        Raises UnknownRequestError for a runner of an earlier image, which cannot change it.
        """

    async def queue(self, at: ControlAddress) -> Queue:
        """Return the inputs that wait for the agent, in order."""

    async def change_input(self, at: ControlAddress, change: ChangeInput) -> InputAccepted:
        """Give a waiting input another text. Raises ConflictError when the agent has it already."""

    async def cancel_input(self, at: ControlAddress, cancel: CancelInput) -> InputAccepted:
        """Remove a waiting input. Raises ConflictError when the agent has it already."""

    async def budget(self, at: ControlAddress, budget: Budget) -> None:
        """Change the spending from which inputs wait. May run any number of times.

        Raises RefusedError when the runner is too old to have this call.
        """

    async def set_draining(self, at: ControlAddress, draining: Draining) -> None:
        """Start draining before a pause, or accept clients again. Raises ConflictError while the agent works."""

    async def revoke(self, at: ControlAddress, revoke: Revoke) -> None:
        """Close the public connections of these subjects and reject their tokens. May run any number of times.

        Raises RefusedError when the runner is too old to have this call.
        """

    async def stop(self, at: ControlAddress, stop: Stop) -> None:
        """Start to end the agent; return at once. A second call changes nothing."""

    def relay(self, at: ControlAddress, after: int) -> AsyncGenerator[list[Output] | Delta | PublicClients]:
        """Yield what the runner journals after seq `after`: batches of consecutive output, deltas, and who listens.

        A batch holds what has arrived, at most 500 outputs or 4 MiB. Raises RelayBreak when the connection ends,
        BrokenOutputError when the seqs do not continue.
        """

    async def close(self) -> None:
        """Release connections."""
