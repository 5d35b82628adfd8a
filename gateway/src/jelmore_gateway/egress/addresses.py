"""Decides which IP addresses may be dialled. Pure.

A name that the policy allows can lead anywhere, so each address is checked after the lookup. An address that carries
an IPv4 address inside (mapped, NAT64, ISATAP) is judged by that one as well.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

_DENIED_V4: Final = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local, where metadata services are",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "for documentation",
    "192.31.196.0/24": "reserved",
    "192.52.193.0/24": "reserved",
    "192.88.99.0/24": "a relay of 6to4",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "reserved",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "168.63.129.16/32": "a cloud's metadata service",
}
_DENIED_V6: Final = {
    "::/96": "unspecified, loopback or IPv4-compatible",
    "64:ff9b:1::/48": "a local NAT64",
    "100::/64": "a discard prefix",
    "2001::/23": "reserved for protocols, such as Teredo",
    "2001:db8::/32": "for documentation",
    "2002::/16": "6to4",
    "3fff::/20": "for documentation",
    "5f00::/16": "for segment routing",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_DENIED: Final = {ip_network(text): why for text, why in {**_DENIED_V4, **_DENIED_V6}.items()}
_MAPPED: Final = ip_network("::ffff:0:0/96")
_NAT64: Final = ip_network("64:ff9b::/96")
_DIALLED_V6: Final = (ip_network("2000::/3"), _MAPPED, _NAT64)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def embedded(address: Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address carries in a form that a router may unpack."""
    if not isinstance(address, IPv6Address):
        return
    value = int(address)
    if address in _MAPPED or address in _NAT64 or (value >> 32) & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(value & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


@dataclass(frozen=True, slots=True)
class AddressRules:
    """The deployment's own additions. `allowed` wins over all else, so that an internal mirror can be reached."""

    denied: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, denied: Iterable[str] = (), allowed: Iterable[str] = ()) -> "AddressRules":
        """Return the rules of networks in text. Raises ValueError that names the one that is not a network."""
        return cls(tuple(ip_network(text) for text in denied), tuple(ip_network(text) for text in allowed))

    def denial(self, address: Address, own: Iterable[Address] = ()) -> str | None:
        """Return why `address` must not be dialled; None when it may be. `own` are the addresses of this machine."""
        if any(address in network for network in self.allowed):
            return None
        carried = [address, *embedded(address)]
        machine = frozenset(own)
        for each in carried:
            if each in machine:
                return "this machine's own address"
            why = next((why for network, why in _DENIED.items() if each in network), None)
            if why is None and any(each in network for network in self.denied):
                why = "denied by this deployment"
            if why is not None:
                return why
        outside = isinstance(address, IPv6Address) and not any(address in one for one in _DIALLED_V6)
        return "not a global address" if outside else None


def local_addresses(fib_trie: str, if_inet6: str) -> frozenset[Address]:
    """Return this machine's addresses from the text of `/proc/net/fib_trie` and `/proc/net/if_inet6`."""
    found: set[Address] = set()
    leaf = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"] and len(words) > 1:
            leaf = words[1]
        elif "LOCAL" in words and leaf:
            found.add(ip_address(leaf))
    for line in if_inet6.splitlines():
        words = line.split()
        if words and len(words[0]) == 32:  # noqa: PLR2004 - the digits of an IPv6 address
            found.add(IPv6Address(int(words[0], 16)))
    return frozenset(found)
