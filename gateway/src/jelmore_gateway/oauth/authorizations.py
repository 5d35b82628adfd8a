"""The authorization code grant for a route's server, in the name of the person whose browser gives the consent.

The manager sends the person there and takes the code; everything that is asked of a server is asked here, where
addresses are checked and secrets are kept. Nothing is stored in between: what `finish` needs is encrypted in what the
manager keeps, bound to the credential that the tokens will be.
"""

import base64
import hashlib
import json
import secrets
from asyncio import timeout
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from pydantic import ValidationError
from yarl import URL

from jelmore_gateway.oauth import metadata
from jelmore_gateway.oauth.metadata import AuthorizationServer, Protected
from jelmore_gateway.oauth.requests import OAuthError, code_request, described, read_answer, revocation_request
from jelmore_gateway.oauth.tokens import OAuthTokens
from jelmore_gateway.state import now
from jelmore_gateway.vault import Vault, VaultError
from jelmore_protocol.authorization import (
    AuthorizationAnswer,
    AuthorizationEnd,
    AuthorizationRequest,
    AuthorizationStarted,
    Authorized,
)
from jelmore_protocol.gateway import GatewayConfig, Route, Scope, SealedCredential
from jelmore_protocol.oauth import OAuthClient

KIND: Final = "authorization"
"""Part of what the ciphertext is bound to: it cannot be opened as a credential."""

DEADLINE_S: Final = 10.0
_MAX_BYTES: Final = 256 * 1024
_OK: Final = frozenset({200, 201})

type Connect = Callable[[str, bool], aiohttp.ClientSession]


@dataclass(frozen=True, slots=True)
class _Started:
    """What finishes an authorization."""

    issuer: str
    names_itself: bool
    token_url: str
    revocation_url: str
    client_id: str
    client_secret: str = field(repr=False)
    authentication: str
    redirect_uri: str
    resource: str
    verifier: str = field(repr=False)
    private: bool


class Authorizations:
    """Begins, finishes and ends authorizations. Raises OAuthError, VaultError."""

    def __init__(
        self, vault: Vault, tokens: OAuthTokens, connect: Connect, config: Callable[[], GatewayConfig]
    ) -> None:
        self._vault = vault
        self._tokens = tokens
        self._connect = connect
        self._config = config

    async def begin(self, asked: AuthorizationRequest) -> AuthorizationStarted:
        """Return where to send the person. Registers a client where the admin has named none."""
        route = asked.route
        async with described("the server"), timeout(DEADLINE_S):
            protected = await self._protected(route)
            issuer = (route.oauth and route.oauth.issuer) or protected.issuer
            server = await self._server(issuer, private=_may_be_private(route, issuer))
            scopes = metadata.wanted_scopes(route, protected, server)
            client_id, secret, authentication = await self._client(route, asked.redirect_uri, server, scopes)
        verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        started = _Started(
            issuer=server.issuer,
            names_itself=server.names_itself,
            token_url=server.token_url,
            revocation_url=server.revocation_url,
            client_id=client_id,
            client_secret=secret,
            authentication=authentication,
            redirect_uri=asked.redirect_uri,
            resource=protected.resource,
            verifier=verifier,
            private=server.private,
        )
        self._oauth_client(started, "none yet")
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": asked.redirect_uri,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
            .rstrip(b"=")
            .decode(),
            "code_challenge_method": "S256",
            "resource": protected.resource,
            **({"scope": " ".join(scopes)} if scopes else {}),
        }
        mark = "&" if urlsplit(server.authorization_url).query else "?"
        sealed, _ = self._vault.seal(asked.whose, json.dumps(asdict(started)), KIND)
        url = server.authorization_url + mark + urlencode(query, quote_via=quote)
        return AuthorizationStarted(url=url, state=state, issuer=server.issuer, sealed=sealed)

    async def finish(self, answer: AuthorizationAnswer) -> Authorized:
        """Exchange the code; return the credential. The request is sent once: a code that is used twice is revoked."""
        started = _Started(**json.loads(self._vault.open(answer.whose, answer.sealed, KIND)))
        if answer.issuer != started.issuer and (answer.issuer or started.names_itself):
            raise OAuthError("other_issuer", "the code comes from another authorization server")
        client = self._oauth_client(started, "none yet")
        headers, form = code_request(client, answer.code, started.redirect_uri, started.verifier)
        async with described("the token URL"), timeout(DEADLINE_S):
            status, body, _ = await self._call("POST", started.token_url, started.private, headers, form)
        tokens = read_answer(status, body)
        if tokens.refresh:
            text = self._oauth_client(started, tokens.refresh).model_dump_json()
            sealed, key_id = self._vault.seal(answer.whose, text, "oauth")
            return Authorized(kind="oauth", sealed=sealed, key_id=key_id, renewable=True)
        sealed, key_id = self._vault.seal(answer.whose, tokens.access)
        ends = None if tokens.lifetime_s is None else now() + timedelta(seconds=tokens.lifetime_s)
        return Authorized(kind="value", sealed=sealed, key_id=key_id, renewable=False, expires_at=ends)

    async def end(self, sealed: SealedCredential) -> AuthorizationEnd:
        """Revoke the refresh token of a credential at its server, if there is a place for it. Raises neither."""
        if sealed.kind != "oauth":
            return AuthorizationEnd(revoked=False, problem="it is a value")
        try:
            async with described("the revocation URL"), timeout(DEADLINE_S):
                client, refresh_token = await self._tokens.refresh_token(sealed)
                if not client.revocation_url or not refresh_token:
                    return AuthorizationEnd(revoked=False, problem="its server has no place to revoke it")
                headers, form = revocation_request(client, refresh_token)
                status, _, _ = await self._call("POST", client.revocation_url, client.private, headers, form)
        except (OAuthError, VaultError) as error:
            return AuthorizationEnd(revoked=False, problem=str(error))
        return AuthorizationEnd(revoked=status in _OK, problem="" if status in _OK else f"it answers {status}")

    async def _protected(self, route: Route) -> Protected:
        said = metadata.challenge(await self._challenge(route))
        for place in metadata.resource_places(route, said.get("resource_metadata", "")):
            found = await self._document(place, private=route.private)
            if found is not None:
                return metadata.protected_resource(route, found, said.get("scope", ""))
        return metadata.protected_resource(route, None, said.get("scope", ""))

    async def _challenge(self, route: Route) -> str:
        """Return what the server says to a call without a credential."""
        headers = {"Accept": "application/json, text/event-stream"}
        async with self._connect(route.url, route.private).get(
            URL(route.url, encoded=True), headers=headers, allow_redirects=False
        ) as response:
            return response.headers.get("WWW-Authenticate", "")

    async def _server(self, issuer: str, *, private: bool) -> AuthorizationServer:
        if urlsplit(issuer).scheme != "https" and not private:
            raise OAuthError("bad_metadata", "the authorization server has no https URL")
        for place in metadata.server_places(issuer):
            found = await self._document(place, private=private)
            if found is not None:
                return metadata.authorization_server(issuer, found, private=private)
        raise OAuthError("no_metadata", "the authorization server publishes no metadata (RFC 8414)")

    async def _client(
        self, route: Route, redirect_uri: str, server: AuthorizationServer, scopes: tuple[str, ...]
    ) -> tuple[str, str, str]:
        """Return client id, secret and how it is sent: the admin's, or those of a new registration."""
        if route.oauth and route.oauth.client_id:
            post = (
                "client_secret_basic" not in server.authentications and "client_secret_post" in server.authentications
            )
            return route.oauth.client_id, self._secret(route), "post" if post else "basic"
        if not server.registration_url:
            raise OAuthError(
                "no_client", "the authorization server registers no clients: set oauth.client_id of the route"
            )
        body = json.dumps(metadata.registration(redirect_uri, server, scopes)).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        status, text, _ = await self._call("POST", server.registration_url, server.private, headers, body)
        if status not in _OK:
            raise OAuthError("no_client", f"the authorization server's registration answers {status}")
        return metadata.registered(_object(text) or {})

    def _secret(self, route: Route) -> str:
        name = route.oauth.client_secret if route.oauth else ""
        if not name:
            return ""
        for each in self._config().credentials:
            if (each.scope, each.name, each.kind) == (Scope.DEPLOYMENT, name, "value"):
                return self._vault.open(each, each.sealed)
        raise OAuthError("no_client", f"there is no credential {name!r} of the deployment with the client's secret")

    async def _document(self, url: str, *, private: bool) -> Mapping[str, Any] | None:
        status, body, kind = await self._call("GET", url, private, {"Accept": "application/json"})
        return _object(body) if status == 200 and "json" in kind else None  # noqa: PLR2004

    async def _call(
        self, method: str, url: str, private: bool, headers: Mapping[str, str], data: Any = None
    ) -> tuple[int, bytes, str]:
        """Return status, body and content type. No redirect is followed: it could lead anywhere."""
        session = self._connect(url, private)
        async with session.request(
            method, URL(url, encoded=True), data=data, headers=dict(headers), allow_redirects=False
        ) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise OAuthError("bad_response", f"{urlsplit(url).netloc} answers more than {_MAX_BYTES} bytes")
            return response.status, bytes(body), response.content_type

    @staticmethod
    def _oauth_client(started: _Started, refresh_token: str) -> OAuthClient:
        try:
            return OAuthClient(
                token_url=started.token_url,
                revocation_url=started.revocation_url,
                client_id=started.client_id,
                client_secret=started.client_secret,
                refresh_token=refresh_token,
                resource=started.resource,
                authentication="post" if started.authentication == "post" else "basic",
                private=started.private,
            )
        except ValidationError as error:
            where = error.errors(include_url=False, include_input=False)[0]["loc"] or ("answer",)
            raise OAuthError("bad_response", f"the authorization server gives an unusable {where[0]}") from None


def _may_be_private(route: Route, issuer: str) -> bool:
    """Return whether an authorization server may have a private address.

    A private route's own host may, and one that the admin has named: not whatever host a server names.
    """
    named = bool(route.oauth and route.oauth.issuer)
    return route.private and (named or urlsplit(issuer).hostname == urlsplit(route.url).hostname)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
