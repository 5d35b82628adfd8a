"""Which addresses a registered route may lead to. A name is looked up once, and the address that was checked is dialled."""

import ipaddress
import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_ALWAYS_REFUSED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata service of clouds
        "224.0.0.0/4",
        "240.0.0.0/4",
        "100.100.100.200/32",  # metadata of another cloud
        "::/128",
        "fe80::/10",
        "ff00::/8",
        "fd00:ec2::254/128",  # metadata over IPv6
    )
)


def may_dial(text: str, *, private: bool) -> bool:
    """Return whether an address may be dialled: a public one, and with `private` also one of a private network."""
    try:
        address = _plain(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return False
    if any(address in network for network in _ALWAYS_REFUSED if network.version == address.version):
        return False
    return private or (address.is_global and not address.is_multicast)


def _plain(address: Ip) -> Ip:
    """Return the IPv4 address that an IPv6 form contains (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


class GuardedResolver(AbstractResolver):
    """Looks names up and refuses those of which any address may not be dialled."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError when one of them may not be dialled."""
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            if not may_dial(each["host"], private=self._private):
                raise PermissionError(f"{host} has an address that a route may not lead to")
        return found

    async def close(self) -> None:
        """Release nothing: the look-ups run in threads of the loop."""
        await self._resolver.close()
