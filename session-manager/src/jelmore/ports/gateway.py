"""The gateway: the only way out of a sandbox. It is another process, and sessions use it while no manager runs."""

from collections.abc import Sequence
from typing import Protocol

from jelmore_protocol.authorization import (
    AuthorizationAnswer,
    AuthorizationEnd,
    AuthorizationRequest,
    AuthorizationStarted,
    Authorized,
)
from jelmore_protocol.gateway import (
    CallPage,
    EgressDecision,
    GatewayConfig,
    GatewayHealth,
    HeldPage,
    HeldRequest,
    Registration,
    SandboxEntry,
    Sealed,
    SealedCredential,
    SealRequest,
)
from jelmore_protocol.model_check import ModelCheck


class Gateway(Protocol):
    """The gateway's control API. Sandboxes are named by `jelmore_protocol.gateway.sandbox_key`."""

    async def check(self) -> None:
        """Return when the gateway answers."""

    async def health(self) -> GatewayHealth:
        """Return the gateway's state."""

    async def configure(self, config: GatewayConfig) -> None:
        """Replace what is the same for all sandboxes. May run twice."""

    async def registered(self) -> Sequence[SandboxEntry]:
        """Return every registered sandbox."""

    async def register(self, key: str, registration: Registration) -> None:
        """Register a sandbox, in place of any earlier registration; its sockets exist on return. May run twice."""

    async def withdraw(self, key: str) -> None:
        """Close a sandbox's connections, remove its sockets and registration. Succeeds when it is not registered."""

    async def revoke(self, keys: Sequence[str]) -> None:
        """Close the connections of these sandboxes and refuse new ones, at once. May run twice."""

    async def calls(self, after: int) -> CallPage:
        """Return the metered calls after a seq, oldest first."""

    async def held(self, revision: str) -> HeldPage:
        """Return the connections that wait for a person.

        Waits until their state differs from `revision`, for a few seconds at most; the page has the new revision.
        """

    async def decide(self, request_id: str, decision: EgressDecision) -> HeldRequest:
        """Allow or refuse a connection that waits. Raises UnknownRequestError, AlreadyAnsweredError."""

    async def forget(self, request_id: str) -> None:
        """Forget a decided request. Succeeds when it is not known."""

    async def seal(self, request: SealRequest) -> Sealed:
        """Return a credential, encrypted with the gateway's key."""

    async def begin_authorization(self, asked: AuthorizationRequest) -> AuthorizationStarted:
        """Ask a route's server where people give their consent. Raises ConflictError with what is wrong there."""

    async def finish_authorization(self, answer: AuthorizationAnswer) -> Authorized:
        """Exchange a code, once; return the credential. Raises ConflictError with what is wrong there."""

    async def end_authorization(self, credential: SealedCredential) -> AuthorizationEnd:
        """Revoke the refresh token of a credential at its server. May run twice."""

    async def check_model(self) -> ModelCheck:
        """Ask the model API, with the deployment's credential. Takes seconds when it does not answer."""

    async def close(self) -> None:
        """Release connections."""
