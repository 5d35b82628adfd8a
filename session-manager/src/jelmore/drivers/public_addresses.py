"""Which addresses may be called on behalf of a user: public ones, and those that the operator allows. Pure.

It prevents requests to the installation's own network: metadata services, databases, the manager itself.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CARRIERS: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 networks that carry an IPv4 address, which may be a private one."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Private hosts that may be called all the same: names, addresses and networks."""

    names: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def parse(cls, words: Iterable[str]) -> "AllowedHosts":
        """Return the hosts of a setting: `hooks.internal`, `127.0.0.1`, `10.1.0.0/16`."""
        names, networks = set(), []
        for word in words:
            try:
                networks.append(ipaddress.ip_network(word.strip("[]"), strict=False))
            except ValueError:
                names.add(word.lower().rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def allows_name(self, host: str) -> bool:
        """Return whether a host may be called by its name, whatever its addresses."""
        return host.lower().rstrip(".") in self.names

    def allows(self, address: Address) -> bool:
        """Return whether an address may be called."""
        return is_public(address) or self.names_address(address)

    def names_address(self, address: Address | None) -> bool:
        """Return whether an address is one of those that the setting names."""
        inner = getattr(address, "ipv4_mapped", None) or address
        return inner is not None and any(inner in network for network in self.networks)


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public internet."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    if any(address in network for network in _CARRIERS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def literal(host: str) -> Address | None:
    """Return the address that a host is; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
