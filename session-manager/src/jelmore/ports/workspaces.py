"""Work on the files of a session's workspace: the calls to a helper, and sandboxes that exist only for such calls."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from jelmore.session.world import ControlAddress


@dataclass(frozen=True, slots=True)
class WorkspaceAnswer:
    """The answer of a helper: its first line, and content. Both come from the sandbox and are not trusted.

    `content` raises DependencyError when the helper breaks off; what came before is not complete.
    """

    head: Mapping[str, Any]
    content: AsyncGenerator[bytes]


class WorkspaceHelpers(Protocol):
    """Calls to helpers that run as the agent's user in a sandbox."""

    def call(
        self, at: ControlAddress, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> AbstractAsyncContextManager[WorkspaceAnswer]:
        """Give a call to a helper. Its answer begins once the body is taken; leaving the context ends the helper.

        Raises DependencyError without an answer, CapacityError when the sandbox has enough helpers, and what the
        helper refuses: NotFoundError, ConflictError, PreconditionError, WorkspaceSpaceError, TooLargeError,
        InvalidRequestError.
        """


@dataclass(frozen=True, slots=True)
class FileSandbox:
    """A sandbox without a session, for the files of one volume."""

    id: str
    control: ControlAddress


class FileSandboxes(Protocol):
    """Sandboxes that mount a session's volume, run a dormant runner and nothing else.

    They exist beside the session's own sandbox, have names of their own, and are not found as a session's. One that is
    left over ends by itself, and the sweep removes it.
    """

    async def start(self, session_id: UUID, *, make: bool = False) -> FileSandbox:
        """Start one more sandbox on the session's volume. With `make`, the volume is made if it is missing.

        Raises WorkspaceLostError without a volume, RefusedError, DependencyError.
        """

    async def remove(self, sandbox_id: str) -> None:
        """Remove the sandbox. Succeeds when it is absent."""

    async def close(self) -> None:
        """Release connections."""
