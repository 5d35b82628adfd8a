"""What the proxy knows of one session: its policy, its live connections and what it has used."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jelmore_gateway.egress.ledger import Ledger
from jelmore_gateway.egress.limits import EgressLimits
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
    policy: Policy = field(default_factory=Policy)
    limits: EgressLimits = field(default_factory=EgressLimits)
    bytes_used: int = 0
    closed: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    connections: set[LiveConnection] = field(default_factory=set)

    def set_policy(self, policy: Policy) -> None:
        """Change the policy and cut the connections that the new one forbids. May run twice."""
        self.policy = policy
        for live in list(self.connections):
            if live.target is not None and (refusal := policy.refusal(live.target)) is not None:
                live.end(Refusal(Reason.POLICY_CHANGED, f"the session's network changed: {refusal.text}"))

    def close(self) -> None:
        """Cut every connection and refuse new ones. May run twice."""
        self.closed = True
        for live in list(self.connections):
            live.end(Refusal(Reason.SESSION_CLOSED, "the session's access was withdrawn"))

    def admission(self) -> Refusal | None:
        """Return why one more connection is refused; None when it is not."""
        if self.closed:
            return Refusal(Reason.SESSION_CLOSED, "the session's access was withdrawn")
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
