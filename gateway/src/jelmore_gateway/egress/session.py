"""What the proxy knows of one session: its policy, its live connections and what it has used."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jelmore_gateway.egress.ledger import Ledger
from jelmore_gateway.egress.limits import LOOKUPS_EACH, EgressLimits
from jelmore_gateway.egress.policy import Policy, Reason, Refusal, Target


@dataclass(frozen=True, slots=True)
class EgressRecord:
    """A refused or cut connection, for the manager. `unreported` counts refusals that were left out before it."""

    session_id: str
    target: str
    reason: Reason
    text: str
    unreported: int = 0
    host: str = ""
    port: int = 0


@dataclass(slots=True, eq=False)
class LiveConnection:
    """A connection of the session, from the moment it was accepted."""

    session: "EgressSession"
    abort: Callable[[], None]  # closes the client's side at once
    target: Target | None = None
    cut: Refusal | None = None
    waits: bool = False  # for a person: a change of policy ends it as a held request
    approved: bool = False  # by a person, for this connection
    abort_upstream: Callable[[], None] | None = None

    def end(self, refusal: Refusal) -> None:
        """Close both sides at once. May run twice; the first reason stays."""
        if self.cut is None:
            self.cut = refusal
        self.abort()
        if self.abort_upstream is not None:
            self.abort_upstream()

    def spend(self, count: int) -> None:
        """Count bytes against the session's bound. Ends the connection when they are used up."""
        if not self.session.spend(count):
            self.end(Refusal(Reason.BYTES_USED_UP, "this session has used up the bytes that it may transfer"))


@dataclass(slots=True, eq=False)
class EgressSession:
    """The egress of one session. Belongs to one event loop."""

    session_id: str
    generation: int = 1
    policy: Policy = field(default_factory=Policy)
    limits: EgressLimits = field(default_factory=EgressLimits)
    bytes_used: int = 0
    closed: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    connections: set[LiveConnection] = field(default_factory=set)
    granted: set[Target] = field(default_factory=set)  # allowed for the session; the registration will have it soon
    lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS_EACH))
    _grants: dict[Target, float] = field(default_factory=dict)  # allowed once, until then
    _denied: dict[Target, tuple[float, Refusal]] = field(default_factory=dict)

    def set_policy(self, policy: Policy) -> None:
        """Change the policy and cut the connections that the new one forbids. May run twice."""
        self.policy = policy
        for live in list(self.connections):
            if live.target is None or live.waits or (live.approved and policy.asks(live.target)):
                continue
            if (refusal := self.refusal(live.target)) is not None:
                live.end(Refusal(Reason.POLICY_CHANGED, f"the session's network changed: {refusal.text}"))

    def network_changed(self) -> None:
        """Forget what people decided beside the session's network, which they have changed."""
        self.granted.clear()
        self._grants.clear()
        self._denied.clear()

    def refusal(self, target: Target) -> Refusal | None:
        """Return why a connection to `target` is refused so far as its name goes, None when it is not."""
        if self.closed:
            return _withdrawn()
        return None if target in self.granted else self.policy.refusal(target)

    def grant(self, target: Target, for_s: float) -> None:
        """Allow one connection to `target` that is opened within `for_s` seconds."""
        self._grants[target] = time.monotonic() + for_s

    def take_grant(self, target: Target) -> bool:
        """Return whether one connection was allowed, and use that up."""
        return self._grants.pop(target, 0.0) > time.monotonic()

    def deny(self, target: Target, refusal: Refusal, for_s: float) -> None:
        """Refuse connections to `target` for `for_s` seconds."""
        self._denied[target] = (time.monotonic() + for_s, refusal)

    def denied(self, target: Target) -> Refusal | None:
        """Return why connections to `target` are refused for now; None when they are not."""
        until, refusal = self._denied.get(target, (0.0, None))
        if until > time.monotonic():
            return refusal
        self._denied.pop(target, None)
        return None

    def close(self) -> None:
        """Cut every connection and refuse new ones. May run twice."""
        self.closed = True
        for live in list(self.connections):
            live.end(_withdrawn())

    def admission(self) -> Refusal | None:
        """Return why one more connection is refused; None when it is not."""
        if self.closed:
            return _withdrawn()
        if len(self.connections) >= self.limits.connections:
            text = f"this session has {self.limits.connections} connections open, which is its bound; close some"
            return Refusal(Reason.TOO_MANY_CONNECTIONS, text)
        if not self.spend(0):
            return Refusal(Reason.BYTES_USED_UP, "this session has used up the bytes that it may transfer")
        return None

    def spend(self, count: int) -> bool:
        """Count bytes; return whether the session is still within its bound."""
        self.bytes_used += count
        return not self.limits.total_bytes or self.bytes_used < self.limits.total_bytes


def _withdrawn() -> Refusal:
    return Refusal(Reason.SESSION_CLOSED, "the session's access was withdrawn")
