"""HTTP to an identity provider. Its address is the operator's choice, so private ones are called too."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from jelmore.ports.sign_in import ProviderAnswer
from jelmore.session.errors import DependencyError
from jelmore_protocol.json_bounds import has_too_many_values

CALL_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_HEADER_BYTES: Final = 16 * 1024
_CONNECTIONS: Final = 16
_PIECE_BYTES: Final = 64 * 1024


class HttpIdentityProvider:
    """The `IdentityProvider` port. No redirect is followed, no cookie kept, no proxy of the environment used."""

    def __init__(self, *, timeout_s: float = CALL_S) -> None:
        self._timeout_s = timeout_s
        self._client: aiohttp.ClientSession | None = None

    async def call(
        self, url: str, *, form: Mapping[str, str] | None = None, authorization: str | None = None
    ) -> ProviderAnswer:
        """Get `url`, or post `form`; see the port."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if authorization is not None:
            headers["Authorization"] = authorization
        method = "GET" if form is None else "POST"
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._session().request(
                    method, url, data=form, headers=headers, allow_redirects=False
                ) as answer:
                    return ProviderAnswer(answer.status, _object(await _body(answer)))
        except TimeoutError:
            raise _away(f"no answer within {self._timeout_s:.0f} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            refused = getattr(error.certificate_error, "verify_message", "") or "not valid"
            fix = "JELMORE_CA_FILE names an authority of your own, outside of the deployment SSL_CERT_FILE"
            raise _away(f"its certificate is not trusted ({refused}); {fix}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _away(f"does not answer ({type(error).__name__})") from None

    async def close(self) -> None:
        """Release connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                auto_decompress=False,
            )
        return self._client


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for piece in answer.content.iter_chunked(_PIECE_BYTES):
        found += piece
        if len(found) > MAX_ANSWER_BYTES:
            raise _away(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(found)


def _object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body, an empty one when it has none."""
    if has_too_many_values(body.decode("utf-8", "replace")):
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _away(message: str) -> DependencyError:
    return DependencyError("identity provider", message)
