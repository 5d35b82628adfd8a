"""A small OpenID Connect provider: real keys, real signatures, and one fault at a time on demand."""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from tests.support.http_servers import listening

CLIENT_ID = "jelmore"
CLIENT_SECRET = "a secret: of 100 %"


@dataclass
class Key:
    """A signing key with its name."""

    name: str
    private: RSAPrivateKey = field(default_factory=lambda: generate_private_key(65537, 2048))

    def public(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self.private.public_key()))
        return {**found, "kid": self.name, "use": "sig"}


@dataclass
class IdentityProvider:
    """What the provider says about the person in the browser. A test changes it."""

    issuer: str = ""
    key: Key = field(default_factory=lambda: Key("first"))
    published: list[dict[str, Any]] = field(default_factory=list)  # empty: the key that signs
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "ann-1", "preferred_username": "Ann"})
    userinfo: dict[str, Any] = field(default_factory=lambda: {"sub": "ann-1"})
    token: str | None = None  # in place of the one that it would sign
    signed_in: bool = True
    asks: bool = False  # shows a page with a button first
    replayable: bool = False  # takes a code twice, as no provider should
    hanging: str = ""  # the beginning of the paths that never answer
    status: int = 200  # of everything
    document: dict[str, Any] = field(default_factory=dict)  # in place of parts of the discovery document
    ended: list[dict[str, str]] = field(default_factory=list)  # the parameters of each sign-out
    requests: list[str] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def rotate(self) -> None:
        """Sign with another key from now on."""
        self.key = Key(f"key {secrets.token_hex(4)}")

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._faults])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        app.router.add_get("/logout", self._logout)
        return app

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(request.path)
        if self.hanging and request.path.startswith(self.hanging):
            await asyncio.sleep(3600)
        if self.status != 200:
            return web.Response(status=self.status, text="<html>away")
        found: web.StreamResponse = await handler(request)
        return found

    async def _discovery(self, _: web.Request) -> web.Response:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        paths |= {"userinfo_endpoint": "userinfo", "end_session_endpoint": "logout"}
        urls = {name: f"{self.issuer}/{path}" for name, path in paths.items()}
        found = {"issuer": self.issuer, **urls, **self.document}
        return web.json_response({name: value for name, value in found.items() if value is not None})

    async def _authorize(self, request: web.Request) -> web.Response:
        given = dict(request.query)
        assert given["client_id"] == CLIENT_ID
        assert given["code_challenge_method"] == "S256"
        if self.asks and "go" not in given:
            go = urlencode({**given, "go": "1"})
            return web.Response(
                text=f'<h1>The company</h1><a href="?{go}">Continue as Ann</a>', content_type="text/html"
            )
        if given.get("prompt") == "none" and not self.signed_in:
            back = {"error": "login_required", "state": given["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = given
            back = {"code": code, "state": given["state"], "iss": self.issuer}
        raise web.HTTPSeeOther(f"{given['redirect_uri']}?{urlencode(back)}")

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": self.published or [self.key.public()]})

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        pair = base64.b64encode(f"{CLIENT_ID}:a%20secret%3A%20of%20100%20%25".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {pair}" and form.get("client_secret") != CLIENT_SECRET:
            return web.json_response({"error": "invalid_client"}, status=401)
        code = str(form["code"])
        asked = self._codes.get(code)
        if not self.replayable:
            self._codes.pop(code, None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).rstrip(b"=")
        if not asked or asked["redirect_uri"] != form["redirect_uri"] or asked["code_challenge"] != challenge.decode():
            return web.json_response({"error": "invalid_grant"}, status=400)
        id_token = self.token or self.signed(nonce=asked["nonce"])
        return web.json_response({"access_token": "access", "token_type": "Bearer", "id_token": id_token})

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer access"
        return web.json_response(self.userinfo)

    async def _logout(self, request: web.Request) -> web.Response:
        given = dict(request.query)
        assert given["client_id"] == CLIENT_ID
        if "id_token_hint" in given:
            hint = jwt.decode(given["id_token_hint"], self.key.private.public_key(), ["RS256"], audience=CLIENT_ID)
            assert hint["sub"] == self.claims["sub"]
        self.ended.append(given)
        self.signed_in = False
        raise web.HTTPSeeOther(given["post_logout_redirect_uri"])

    def signed(self, **more: Any) -> str:
        """Return an id token."""
        now = int(time.time())
        body = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **more, **self.claims}
        return jwt.encode(body, self.key.private, "RS256", {"kid": self.key.name})


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    """Yield a provider that listens."""
    found = IdentityProvider()
    async with listening(found.app()) as port:
        found.issuer = f"http://127.0.0.1:{port}"
        yield found
