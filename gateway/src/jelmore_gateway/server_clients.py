"""The connections to servers that routes and token URLs lead to. Each address is checked before it is dialled."""

import aiohttp

from jelmore_gateway.addresses import GuardedResolver, literal_denial
from jelmore_gateway.egress.resolver import OwnAddresses


class ServerClients:
    """Two clients: one for public addresses only, one that may also reach private networks. Use `open` first."""

    def __init__(self) -> None:
        self._own = OwnAddresses()
        self._clients: dict[bool, aiohttp.ClientSession] = {}

    def open(self) -> None:
        """Make the clients. Needs a running event loop."""
        self._clients = {private: _client(private=private, own=self._own) for private in (False, True)}

    async def close(self) -> None:
        """Close every connection. May run twice."""
        for client in self._clients.values():
            await client.close()

    def client(self, *, private: bool) -> aiohttp.ClientSession:
        """Return the client that checks the addresses of names. It does not see a host that is an address itself."""
        return self._clients[private]

    def denial(self, url: str, *, private: bool) -> str | None:
        """Return why the host of a URL may not be dialled if it is an address, None when it may be, or is a name."""
        return literal_denial(url, private=private, own=self._own())


def _client(*, private: bool, own: OwnAddresses) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=30, use_dns_cache=False, resolver=GuardedResolver(private=private, own_addresses=own)
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )
