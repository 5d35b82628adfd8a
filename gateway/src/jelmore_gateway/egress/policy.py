"""Decides from a host and a port alone whether a session may connect. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from jelmore_protocol.network import ANY_HOST, STANDARD_PORTS, HostRule, Network, NetworkMode, literal_address


class Reason(StrEnum):
    """Why a connection was refused or cut: the stable code in responses and events."""

    NO_NETWORK = "no_network"
    HOST_NOT_ALLOWED = "host_not_allowed"
    PORT_NOT_ALLOWED = "port_not_allowed"
    LITERAL_ADDRESS = "literal_address"
    ADDRESS_DENIED = "address_denied"
    NAME_NOT_FOUND = "name_not_found"
    CONNECT_FAILED = "connect_failed"
    BAD_REQUEST = "bad_request"
    UPGRADE = "upgrade"
    NOT_TLS = "not_tls"
    SERVER_NAME_DIFFERS = "server_name_differs"
    ENCRYPTED_HELLO = "encrypted_hello"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    BYTES_USED_UP = "bytes_used_up"
    POLICY_CHANGED = "policy_changed"
    SESSION_CLOSED = "session_closed"
    DENIED = "denied"
    NOT_ANSWERED = "not_answered"
    TOO_MANY_WAITING = "too_many_waiting"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused connection. `text` is for the agent: plain, and it says what would be allowed."""

    reason: Reason
    text: str
    status: int = 403


@dataclass(frozen=True, slots=True)
class Target:
    """A normalized host (a name, or an address in its canonical form) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one session may reach. The mode decides, the rules add to it; a person may be asked about the rest."""

    mode: NetworkMode = NetworkMode.NONE
    rules: tuple[HostRule, ...] = ()
    ask: tuple[HostRule, ...] = ()
    ask_any: bool = False  # about every host name, on the standard ports

    @classmethod
    def of(cls, network: Network, packages: tuple[HostRule, ...] = ()) -> Self:
        """Return the policy of a session's `network`. `packages` are the deployment's package hosts."""
        rules = () if network.mode is NetworkMode.NONE else network.rules
        if network.mode in {NetworkMode.PACKAGES, NetworkMode.OPEN}:
            rules = (*packages, *rules)
        rules = (*rules, *network.approved_rules)
        return cls(network.mode, rules, network.ask_rules, ask_any=ANY_HOST in network.ask)

    def refusal(self, target: Target) -> Refusal | None:
        """Return why a connection to `target` is refused; None when it is allowed so far as its name goes.

        The addresses that the name leads to are checked as well, later.
        """
        if any(rule.allows(target.host, target.port) for rule in self.rules):
            return None
        if self.mode is NetworkMode.NONE:
            return Refusal(Reason.NO_NETWORK, f"this session has no network (network: none), so {target} is blocked")
        if literal_address(target.host) is not None:
            text = f"{target} is an IP address that is not in this session's list of hosts; use a host name"
            return Refusal(Reason.LITERAL_ADDRESS, text)
        if self.mode is NetworkMode.OPEN:
            if "." not in target.host:
                return Refusal(Reason.HOST_NOT_ALLOWED, f"{target.host} is not a public host name")
            if target.port in STANDARD_PORTS:
                return None
        if self.mode is NetworkMode.OPEN or any(self._names(rule, target.host) for rule in self.rules):
            text = f"port {target.port} of {target.host} is not allowed; without a rule, only ports 80 and 443 are"
            return Refusal(Reason.PORT_NOT_ALLOWED, text)
        text = f"{target.host} is not among the hosts that this session may reach (network: {self.mode})"
        return Refusal(Reason.HOST_NOT_ALLOWED, text)

    def asks(self, target: Target) -> bool:
        """Return whether a person may be asked about the target when it is refused."""
        if any(rule.allows(target.host, target.port) for rule in self.ask):
            return True
        is_name = "." in target.host and literal_address(target.host) is None
        return self.ask_any and is_name and target.port in STANDARD_PORTS

    def lists(self, target: Target) -> bool:
        """Return whether a rule names this very port of the target, so that other protocols than TLS may use it."""
        return any(rule.port == target.port and rule.allows(target.host, target.port) for rule in self.rules)

    @staticmethod
    def _names(rule: HostRule, host: str) -> bool:
        return host.endswith(f".{rule.host}") if rule.below else host == rule.host
