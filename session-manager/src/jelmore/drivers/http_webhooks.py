"""Calls webhooks over HTTP. It connects only to addresses that it has checked after the lookup."""

import asyncio
import errno
import socket
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from jelmore.drivers.public_addresses import AllowedHosts, literal
from jelmore.ports.webhooks import Sent
from jelmore.session.errors import InvalidRequestError

SEND_S: Final = 10.0
_MAX_HEADER_BYTES: Final = 16 * 1024
_PRIVATE: Final = "is not a public address; JELMORE_WEBHOOK_PRIVATE_HOSTS can allow it"


class _PrivateAddressError(OSError):
    """The host has an address that may not be called."""


class HttpWebhooks:
    """The `WebhookSender` port. `allowed` are private hosts that may be called, also without TLS."""

    def __init__(self, allowed: AllowedHosts, *, timeout_s: float = SEND_S) -> None:
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._client: aiohttp.ClientSession | None = None

    def check(self, url: str) -> None:
        """Raise InvalidRequestError when the URL may not be called; see the port."""
        parts = _parts(url)
        host = parts.hostname or ""
        address = literal(host)
        private = self._allowed.allows_name(host) or self._allowed.names_address(address)
        if parts.scheme != "https" and not private:
            raise InvalidRequestError("url: must begin with https://")
        if address is not None and not private and not self._allowed.allows(address):
            raise InvalidRequestError(f"url: {host} {_PRIVATE}")

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Post the body; see the port. Never raises for what the receiver or the network does."""
        began = time.perf_counter()

        def sent(status: int | None, error: str | None) -> Sent:
            return Sent(status, error, round((time.perf_counter() - began) * 1000, 1))

        try:
            self.check(url)
            async with asyncio.timeout(self._timeout_s):
                async with self._session().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                    error = None if answer.ok and answer.status < 300 else f"answered {answer.status}"  # noqa: PLR2004
                    return sent(answer.status, error)
        except InvalidRequestError as error:
            return sent(None, str(error))
        except TimeoutError:
            return sent(None, f"no answer within {self._timeout_s:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return sent(None, f"{type(error).__name__}: {error}"[:500])

    async def close(self) -> None:
        """Release connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            connector = aiohttp.TCPConnector(resolver=_Resolver(self._allowed), use_dns_cache=False, force_close=True)
            self._client = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                auto_decompress=False,
            )
        return self._client


class _Resolver(AbstractResolver):
    """Looks a name up once and refuses it when one of its addresses may not be called. What it returns is dialled."""

    def __init__(self, allowed: AllowedHosts) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, place in found:
            text = str(place[0])
            address = literal(text)
            if not self._allowed.allows_name(host) and (address is None or not self._allowed.allows(address)):
                raise _PrivateAddressError(errno.EACCES, f"{host} has the address {text}, which {_PRIVATE}")
            results.append(
                ResolveResult(
                    hostname=host, host=text, port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
                )
            )
        return results

    async def close(self) -> None:
        """Nothing to release."""


def _parts(url: str) -> Any:
    """Return the parts of a URL. Raises InvalidRequestError."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError as error:
        raise InvalidRequestError(f"url: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidRequestError("url: must begin with https:// and name a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidRequestError("url: must have no user, password or fragment")
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidRequestError("url: must be plain ASCII without spaces; write other characters as %XX")
    return parts
