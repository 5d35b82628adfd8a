"""What is stored about the gateway: recorded calls, routes and encrypted credentials."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from jelmore.session.events import EventType
from jelmore_protocol.gateway import CallPage, CredentialKey, Route, SealedCredential


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What a session's calls of one model used, as the gateway metered it."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


@dataclass(frozen=True, slots=True)
class RouteCall:
    """A call on a route, or a connection to another host that was refused."""

    at: datetime
    route: str
    status: int
    method: str
    tool: str
    complete: bool


@dataclass(frozen=True, slots=True)
class CallEvent:
    """An event of a session that a recorded call leads to."""

    call_seq: int
    type: EventType
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential that was set. Its value cannot be read."""

    credential: SealedCredential
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class TakenAuthorization:
    """An authorization that a person has started. `sealed` is for the gateway, which finishes it."""

    whose: CredentialKey
    route: str
    sealed: str


class GatewayStore(Protocol):
    """The calls that the gateway recorded, and what it is configured with."""

    async def cursor(self, gateway: UUID) -> int:
        """Return the seq up to which a gateway was read, 0 before the first read."""

    async def add_calls(self, page: CallPage, events: Sequence[CallEvent] = ()) -> None:
        """Store calls once each with their events, and remember how far the gateway was read. May run twice."""

    async def usage(self, session_id: UUID) -> Sequence[ModelUsage]:
        """Return what a session's calls of the model used, by model."""

    async def calls(self, session_id: UUID, limit: int) -> Sequence[RouteCall]:
        """Return a session's newest calls on routes, newest first."""

    async def revision(self) -> int:
        """Return a number that grows with every change of routes and credentials."""

    async def routes(self) -> Sequence[Route]:
        """Return every route, by name."""

    async def put_route(self, route: Route) -> None:
        """Store a route in place of any earlier one of its name."""

    async def drop_route(self, name: str) -> bool:
        """Remove a route; return whether there was one."""

    async def credentials(self) -> Sequence[StoredCredential]:
        """Return every credential, encrypted."""

    async def put_credential(self, credential: SealedCredential) -> None:
        """Store a credential in place of any earlier one."""

    async def seal_again(self, before: SealedCredential, after: SealedCredential) -> None:
        """Replace the encrypted form of a credential, unless it differs from `before`. May run twice."""

    async def drop_credential(self, whose: CredentialKey) -> bool:
        """Remove a credential; return whether there was one."""

    async def keep_authorization(
        self, state: str, started_by: str, whose: CredentialKey, route: str, sealed: str, *, for_s: float, most: int
    ) -> bool:
        """Store an authorization for `for_s` seconds under the digest of its state; False when `most` are under way."""

    async def fill_authorization(self, place: str, state: str, sealed: str) -> bool:
        """Give the authorization kept under `place` its state and what finishes it; False when it has run out."""

    async def take_authorization(self, state: str, started_by: str) -> TakenAuthorization | None:
        """Remove and return an authorization. None for one of another key, that has run out, or was taken."""
