"""An authorization server and the MCP server behind it, for the consent of a person."""

import asyncio
import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from aiohttp import web


@dataclass
class AuthorizationServer:
    """An authorization server and the MCP server behind it, as the RFCs want them."""

    port: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)  # replaces parts of its own
    resource: dict[str, Any] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)
    access: set[str] = field(default_factory=set)
    revoked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    gives_refresh: bool = True
    registered: dict[str, Any] = field(default_factory=dict)  # replaces parts of what a registration gives
    gate: asyncio.Event | None = None  # what the answers to token requests wait for

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def protected(self, _: web.Request) -> web.Response:
        found = {"resource": f"{self.origin}/mcp", "authorization_servers": [self.origin], "scopes_supported": ["read"]}
        return web.json_response({**found, **self.resource})

    async def server(self, _: web.Request) -> web.Response:
        found = {
            "issuer": self.origin,
            "authorization_endpoint": f"{self.origin}/authorize?tenant=1",
            "token_endpoint": f"{self.origin}/token",
            "registration_endpoint": f"{self.origin}/register",
            "revocation_endpoint": f"{self.origin}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "scopes_supported": ["read", "offline_access"],
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response({**found, **self.metadata})

    async def register(self, request: web.Request) -> web.Response:
        body = await request.json()
        client_id = f"client-{len(self.clients)}"
        self.clients[client_id] = body
        return web.json_response({**body, "client_id": client_id, **self.registered}, status=201)

    def consent(self, url: str) -> dict[str, str]:
        """Give the consent that a URL asks for; return the query of the way back."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["tenant"] == "1"
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.origin}

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Send a browser back at once, as if the person had agreed."""
        back = f"{request.query['redirect_uri']}?{urlencode(self.consent(str(request.url)))}"
        raise web.HTTPFound(back)

    async def token(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode()))
        self.forms.append(form)
        if self.gate is not None:
            await self.gate.wait()
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            fits = (
                asked is not None and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
            )
            same = asked is not None and all(form.get(name) == asked[name] for name in ("redirect_uri", "resource"))
            if not fits or not same:
                return web.json_response({"error": "invalid_grant"}, status=400)
        elif form["refresh_token"] not in self.refresh:
            return web.json_response({"error": "invalid_grant"}, status=400)
        access, refresh = f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"
        self.access.add(access)
        given = {"access_token": access, "token_type": "Bearer", "expires_in": 3600}
        if self.gives_refresh:
            self.refresh = {refresh}
            given["refresh_token"] = refresh
        return web.json_response(given)

    async def revoke(self, request: web.Request) -> web.Response:
        form = parse_qs((await request.read()).decode())
        self.revoked += form["token"]
        self.refresh -= set(form["token"])
        return web.Response()

    async def mcp(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.access:
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {}})
        place = f"{self.origin}/.well-known/oauth-protected-resource/mcp"
        said = f'Bearer error="invalid_token", resource_metadata="{place}"'
        return web.Response(status=401, headers={"WWW-Authenticate": said})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/oauth-protected-resource/mcp", self.protected)
        app.router.add_get("/.well-known/oauth-authorization-server", self.server)
        app.router.add_get("/authorize", self.authorize)
        app.router.add_post("/register", self.register)
        app.router.add_post("/token", self.token)
        app.router.add_post("/revoke", self.revoke)
        app.router.add_route("*", "/mcp", self.mcp)
        return app
