"""The control API of the runner inside a sandbox."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from jelmore.session.errors import FaultError
from jelmore.session.output import Output
from jelmore.session.world import ControlAddress
from jelmore_protocol.control import (
    Change,
    Health,
    Init,
    InputAccepted,
    InputRequest,
    PermissionAnswer,
    Quiet,
    Revoke,
    Stop,
    WorkspaceLimit,
)


class RelayBreak(Exception):  # noqa: N818 - an event of the relay, not a fault
    """The relay's connection ended. Attach again from the stored seq."""


class BrokenOutputError(FaultError):
    """The runner's output cannot be followed: its numbers do not continue what is stored."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message still being written: the frame's JSON text."""

    text: str


class Runners(Protocol):
    """What the manager says to a runner on its control socket. `at` comes from `Sandbox.control`.

    An answer that names another session or generation than `at` counts as no answer (DependencyError).

    Beside DependencyError these raise ConflictError, UnknownRequestError, AlreadyAnsweredError, SessionEndedError,
    TooLargeError, WorkspaceFullError and CapacityError (the queue is full), as the runner's refusal says.
    """

    async def health(self, at: ControlAddress) -> Health:
        """Return what the runner says of itself."""

    async def init(self, at: ControlAddress, init: Init) -> Health:
        """Tell a dormant runner who it is. The same generation twice changes nothing."""

    async def input(self, at: ControlAddress, request: InputRequest) -> InputAccepted:
        """Hand over a prompt; returns when it is journaled. The same id twice is one prompt."""

    async def interrupt(self, at: ControlAddress) -> None:
        """Stop the running turn, if any."""

    async def answer(self, at: ControlAddress, request_id: str, answer: PermissionAnswer) -> InputAccepted:
        """Answer a pending permission or question. The first answer wins."""

    async def set_model(self, at: ControlAddress, change: Change) -> None:
        """Change the model of the running conversation."""

    async def set_permission_mode(self, at: ControlAddress, change: Change) -> None:
        """Change the permission mode of the running conversation."""

    async def limit_workspace(self, at: ControlAddress, limit: WorkspaceLimit) -> None:
        """Change what the session's volume may hold. Any number of times."""

    async def quiet(self, at: ControlAddress, quiet: Quiet) -> None:
        """Send public clients away before a freeze, or take them again. ConflictError while the agent works."""

    async def revoke(self, at: ControlAddress, revoke: Revoke) -> None:
        """Close the public connections of these subjects, and take none of their tokens. Any number of times.

        RefusedError from a runner that is too old to know this.
        """

    async def stop(self, at: ControlAddress, stop: Stop) -> None:
        """Begin to end the agent; returns at once. Twice changes nothing."""

    def relay(self, at: ControlAddress, after: int) -> AsyncGenerator[list[Output] | Delta]:
        """Yield what the runner journals after seq `after`: batches of consecutive output, and deltas.

        A batch holds what has arrived, at most 500 outputs or 4 MiB. Raises RelayBreak when the connection ends,
        BrokenOutputError when the numbers do not continue.
        """

    async def close(self) -> None:
        """Release connections."""
