"""What a session may reach, as its owner asks for it, and the grammar of host rules.

Manager and gateway read rules with the same functions, so that a rule which the API accepted means the same where it
is enforced.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_RULES: Final = 200
MAX_RULE_CHARACTERS: Final = 260
MAX_HOST_CHARACTERS: Final = 253
STANDARD_PORTS: Final = frozenset({80, 443})
"""The ports of a rule that names none."""

ANY_HOST: Final = "*"
"""In `Network.ask`: every host name with at least two labels, on the standard ports."""

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class NetworkMode(StrEnum):
    """How much a session may reach, from least to most."""

    NONE = "none"  # the model API only
    PACKAGES = "packages"  # the deployment's list of package registries and git hosts
    CUSTOM = "custom"  # the hosts in the session's own list
    OPEN = "open"  # every public host

    @property
    def rank(self) -> int:
        """The place in the order, for comparing with a ceiling."""
        return list(NetworkMode).index(self)


@dataclass(frozen=True, slots=True)
class HostRule:
    """Allows a host, or every host below it. `port` None means ports 80 and 443."""

    host: str
    below: bool = False  # `*.host`: every name that ends in .host, and not host itself
    port: int | None = None

    def allows(self, host: str, port: int) -> bool:
        """Return whether the rule allows a normalized host and a port."""
        if port not in STANDARD_PORTS if self.port is None else port != self.port:
            return False
        return host.endswith(f".{self.host}") if self.below else host == self.host


def normalized_host(text: str) -> str:
    """Return a host name in lower case without a final dot, or an IP address in its canonical form.

    Raises ValueError for all that is neither, such as other spellings of addresses (`127.1`, `0x7f000001`).
    """
    address = literal_address(text)
    if address is not None:
        return str(address)
    name = text.removesuffix(".").lower()
    labels = name.split(".")
    if not name or len(name) > MAX_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        hint = "" if text.isascii() else "; write an international name in its xn-- form"
        raise ValueError(f"{text[:80]!r} is not a host name{hint}")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        raise ValueError(f"{text[:80]!r} is neither a host name nor an IP address in its usual form")
    return name


def literal_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that `text` spells, with or without the brackets of IPv6; None when it spells none."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(inner)
    except ValueError:
        return None
    # A zone names an interface of this machine; it is no part of a public address.
    return None if getattr(address, "scope_id", None) else address


def split_authority(text: str, default_port: int | None) -> tuple[str, int]:
    """Return the normalized host and the port of `host:port`. Raises ValueError that says what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text[:80]!r}: an IPv6 address needs brackets")
    if not port:
        if colon and not text.endswith("]"):
            raise ValueError(f"{text[:80]!r}: the port is missing")
        if default_port is None:
            raise ValueError(f"{text[:80]!r}: the port is missing")
        return normalized_host(host), default_port
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 2**16):  # noqa: PLR2004
        raise ValueError(f"{text[:80]!r}: the port is not a number from 1 to 65535")
    return normalized_host(host), int(port)


def parse_rule(text: str) -> HostRule:
    """Parse `host`, `host:port`, `*.host`, `*.host:port` or an IP address. Raises ValueError that names the rule."""
    if len(text) > MAX_RULE_CHARACTERS:
        raise ValueError(f"{text[:80]!r} is longer than {MAX_RULE_CHARACTERS} characters")
    below = text.startswith("*.")
    rest = text[2:] if below else text
    if "*" in rest:
        raise ValueError(f"{text!r}: a * stands for the first labels of a name only, as in *.example.com")
    if literal_address(rest) is not None:
        host, port = normalized_host(rest), None
    else:
        host, number = split_authority(rest, 0)
        port = number or None
    if below and (literal_address(host) is not None or "." not in host):
        raise ValueError(f"{text!r}: *. needs a name of at least two labels after it, as in *.example.com")
    return HostRule(host, below, port)


def _checked_rule(text: str) -> str:
    parse_rule(text)
    return text


def _checked_ask_rule(text: str) -> str:
    return text if text == ANY_HOST else _checked_rule(text)


Rule = Annotated[str, Field(min_length=1, max_length=MAX_RULE_CHARACTERS), AfterValidator(_checked_rule)]
AskRule = Annotated[str, Field(min_length=1, max_length=MAX_RULE_CHARACTERS), AfterValidator(_checked_ask_rule)]


class Network(BaseModel):
    """What a session may reach. `allow` adds hosts to a mode other than `none`; with `open`, their ports.

    A connection to a host in `ask` that nothing else allows waits until a person decides. `approved` are the hosts that
    a person has allowed for the session, whatever the mode is.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    mode: NetworkMode = NetworkMode.NONE
    allow: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)
    ask: tuple[AskRule, ...] = Field(default=(), max_length=MAX_RULES)
    approved: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)

    @property
    def rules(self) -> tuple[HostRule, ...]:
        """The parsed rules of `allow`."""
        return tuple(parse_rule(text) for text in self.allow)

    @property
    def ask_rules(self) -> tuple[HostRule, ...]:
        """The parsed rules of `ask`, without `*`."""
        return tuple(parse_rule(text) for text in self.ask if text != ANY_HOST)

    @property
    def approved_rules(self) -> tuple[HostRule, ...]:
        """The parsed rules of `approved`."""
        return tuple(parse_rule(text) for text in self.approved)
