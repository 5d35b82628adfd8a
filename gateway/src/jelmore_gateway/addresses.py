"""Which addresses a registered route may lead to. A name is looked up once, and an address that was checked is dialled.

The ranges are those of `egress.addresses`. A route that its admin marked as private may also lead to a private network,
but never to a metadata service.
"""

import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from jelmore_gateway.egress import AddressRules
from jelmore_gateway.egress.addresses import Address

_PUBLIC: Final = AddressRules()
_PRIVATE: Final = AddressRules.parse(
    allowed=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7")
)
_METADATA: Final = frozenset(ip_address(text) for text in ("100.100.100.200", "fd00:ec2::254"))


def denial(text: str, *, private: bool, own: Iterable[Address] = ()) -> str | None:
    """Return why an address may not be dialled, None when it may be."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "not an address"
    if address in _METADATA:
        return "a metadata service"
    return _PRIVATE.denial(address) if private else _PUBLIC.denial(address, own)


def literal_denial(url: str, *, private: bool, own: Iterable[Address]) -> str | None:
    """Return why the host of a URL may not be dialled if it is an address, which needs no lookup; None when it may."""
    host = urlsplit(url).hostname or ""
    if ":" in host or host.replace(".", "").isdigit():
        return denial(host, private=private, own=own)
    return None


class GuardedResolver(AbstractResolver):
    """Looks names up, and refuses those of which any address may not be dialled."""

    def __init__(self, *, private: bool, own_addresses: Callable[[], Iterable[Address]]) -> None:
        self._private = private
        self._own = own_addresses
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError when one of them may not be dialled."""
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            why = denial(each["host"], private=self._private, own=self._own())
            if why is not None:
                raise PermissionError(f"{host} leads to {each['host']}, which a route may not reach ({why})")
        return found

    async def close(self) -> None:
        """Release the resolver."""
        await self._resolver.close()
