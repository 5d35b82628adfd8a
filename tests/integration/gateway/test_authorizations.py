"""A person lets the gateway use a server in their name: metadata, registration, PKCE, the code, and the end of it."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from aiohttp import web

from jelmore_gateway.oauth import OAuthError
from jelmore_protocol.authorization import AuthorizationAnswer, AuthorizationRequest, AuthorizationStarted
from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Route, Scope, SealedCredential
from jelmore_protocol.oauth import RouteOAuth
from tests.integration.gateway.world import World
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration

REDIRECT = "https://jelmore.example/api/v1/authorizations/callback"
ANN = CredentialKey(scope=Scope.USER, owner="ann", name="docs")


@dataclass
class Provider:
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
        app.router.add_post("/register", self.register)
        app.router.add_post("/token", self.token)
        app.router.add_post("/revoke", self.revoke)
        app.router.add_route("*", "/mcp", self.mcp)
        return app


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    async with listening(made.app()) as made.port:
        yield made


def route(provider: Provider, **more: Any) -> Route:
    return Route(name="mcp/docs", url=f"{provider.origin}/mcp", private=True, credential="docs", **more)


async def started(world: World, of: Route) -> AuthorizationStarted:
    asked = AuthorizationRequest(route=of, whose=ANN, redirect_uri=REDIRECT)
    return await world.gateway.credentials.authorizations.begin(asked)


async def finished(world: World, found: AuthorizationStarted, back: dict[str, str], **more: Any) -> SealedCredential:
    given = {"whose": ANN, "sealed": found.sealed, "code": back["code"], "issuer": back["iss"], **more}
    done = await world.gateway.credentials.authorizations.finish(AuthorizationAnswer(**given))
    return SealedCredential(**ANN.model_dump(), kind=done.kind, sealed=done.sealed, key_id=done.key_id)


async def test_a_person_authorizes_the_gateway_and_only_their_sessions_use_it(world: World, provider: Provider) -> None:
    of = route(provider)
    found = await started(world, of)
    asked = dict(parse_qsl(urlsplit(found.url).query))
    assert (asked["resource"], asked["redirect_uri"]) == (f"{provider.origin}/mcp", REDIRECT)
    assert asked["scope"] == "read offline_access"
    assert provider.clients[asked["client_id"]]["redirect_uris"] == [REDIRECT]
    assert provider.clients[asked["client_id"]]["token_endpoint_auth_method"] == "none"
    credential = await finished(world, found, provider.consent(found.url))
    assert not any(token in credential.sealed + found.sealed for token in provider.refresh | provider.access)
    await world.gateway.configure(GatewayConfig(digest="r", routes=[of], credentials=[credential]))
    anns = await world.register(user_id="ann")
    for _ in range(2):
        async with world.post(anns, "/mcp/docs") as response:
            assert response.status == 200, await response.text()
            shown = f"{response.headers} {await response.text()}"
            assert not any(token in shown for token in provider.refresh | provider.access)
    assert [form["grant_type"] for form in provider.forms] == ["authorization_code", "refresh_token"]
    bobs = await world.register("00000000-0000-0000-0000-0000000000b0", user_id="bob")
    async with world.post(bobs, "/mcp/docs") as response:
        assert response.status == 403
    newest = set(provider.refresh)
    ended = await world.gateway.credentials.authorizations.end(credential)
    assert (ended.revoked, set(provider.revoked), provider.refresh) == (True, newest, set())


async def test_a_code_is_worth_nothing_elsewhere_and_twice(world: World, provider: Provider) -> None:
    of = route(provider)
    first, second = await started(world, of), await started(world, of)
    back = provider.consent(first.url)
    with pytest.raises(OAuthError, match="invalid_grant"):
        await finished(world, second, back)  # another attempt has another verifier
    back = provider.consent(first.url)
    with pytest.raises(OAuthError, match="another authorization server"):
        await finished(world, first, back, issuer="https://evil.example")
    with pytest.raises(OAuthError, match="another authorization server"):
        await finished(world, first, back, issuer="")  # it always says who it is
    with pytest.raises(Exception, match="no key opens"):
        await finished(world, first, back, whose=ANN.model_copy(update={"owner": "bob"}))
    await finished(world, first, back)
    with pytest.raises(OAuthError, match="invalid_grant"):
        await finished(world, first, back)


def own_client(provider: Provider) -> RouteOAuth:
    return RouteOAuth(issuer=provider.origin, client_id="me", client_secret="docs-client", scopes=["write"])


def test_a_client_is_of_one_authorization_server() -> None:
    """Else a server could name its own in the metadata, and would get the client's secret and the person's code."""
    with pytest.raises(ValueError, match="issuer: is missing"):
        RouteOAuth(client_id="me", client_secret="docs-client")


async def test_a_configured_client_is_used_and_its_secret_is_in_no_url(world: World, provider: Provider) -> None:
    whose = CredentialKey(scope=Scope.DEPLOYMENT, name="docs-client")
    text, key_id = world.gateway.vault.seal(whose, "s3cret")
    secret = SealedCredential(**whose.model_dump(), sealed=text, key_id=key_id)
    of = route(provider, oauth=own_client(provider))
    with pytest.raises(OAuthError, match="docs-client"):
        await started(world, of)
    await world.gateway.configure(GatewayConfig(digest="s", routes=[of], credentials=[secret]))
    found = await started(world, of)
    assert ("client_id=me" in found.url, "s3cret" in found.url, provider.clients) == (True, False, {})
    assert "scope=write%20offline_access" in found.url
    await finished(world, found, provider.consent(found.url))
    assert "client_secret" not in provider.forms[-1]  # it is in the header


async def test_without_a_refresh_token_the_access_token_is_the_credential(world: World, provider: Provider) -> None:
    provider.gives_refresh = False
    found = await started(world, route(provider))
    credential = await finished(world, found, provider.consent(found.url))
    assert credential.kind == "value"
    assert world.gateway.vault.open(ANN, credential.sealed) in provider.access
    assert not (await world.gateway.credentials.authorizations.end(credential)).revoked


@pytest.mark.parametrize(
    ("metadata", "resource", "message"),
    [
        ({"code_challenge_methods_supported": ["plain"]}, {}, "S256"),
        ({"issuer": "https://evil.example"}, {}, "another issuer"),
        ({"token_endpoint": "ftp://x.example"}, {}, "token_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, {}, "authorization_endpoint"),
        ({"authorization_endpoint": "https://a@x.example/#f"}, {}, "authorization_endpoint"),
        ({"token_endpoint": None}, {}, "no token endpoint"),
        ({"registration_endpoint": None}, {}, "oauth.client_id"),
        ({"registration_endpoint": "https://169.254.169.254/latest"}, {}, "some no https"),
        ({"response_types_supported": ["token"]}, {}, "code grant"),
        ({}, {"resource": "https://evil.example/mcp"}, "another resource"),
        ({"authorization_endpoint": "https://x.example/\x1b]0;title\x07"}, {}, "authorization_endpoint"),
        ({"token_endpoint": "https://x.example/" + "t" * 3000}, {}, "token_endpoint"),
        (
            {f"{name}_endpoint": f"https://169.254.169.254/{name}" for name in ("token", "registration", "revocation")},
            {},
            "may not be reached",
        ),
        ({}, {"authorization_servers": ["https://x.example/\x1b[2J"]}, "no authorization server"),
        ({}, {"authorization_servers": []}, "no authorization server"),
        ({}, {"authorization_servers": ["http://10.0.0.1"]}, "no https URL"),
    ],
)
async def test_what_a_server_says_of_itself_is_checked(
    world: World, provider: Provider, metadata: dict[str, Any], resource: dict[str, Any], message: str
) -> None:
    provider.metadata, provider.resource = metadata, resource
    with pytest.raises(OAuthError, match=message):
        await started(world, route(provider))
    assert json.dumps(provider.forms) == "[]"


async def test_a_route_for_public_addresses_leads_to_no_private_one(world: World, provider: Provider) -> None:
    with pytest.raises(OAuthError, match="may not be reached"):
        await started(world, route(provider).model_copy(update={"private": False}))


async def test_a_private_route_may_not_send_the_gateway_to_another_private_host(
    world: World, provider: Provider
) -> None:
    provider.resource = {"authorization_servers": [f"http://localhost:{provider.port}"]}
    with pytest.raises(OAuthError, match="no https URL"):
        await started(world, route(provider))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", ["token", "registration", "revocation"])
async def test_a_private_servers_endpoints_are_on_its_own_host_or_public(
    world: World, provider: Provider, name: str, scheme: str
) -> None:
    provider.metadata = {f"{name}_endpoint": f"{scheme}://localhost:{provider.port}/{name}"}
    with pytest.raises(OAuthError, match="no https URL"):
        await started(world, route(provider))
    assert provider.clients == {}


async def test_what_a_registration_gives_is_checked_before_a_person_is_sent(world: World, provider: Provider) -> None:
    provider.registered = {"client_id": "c" * 2000}
    with pytest.raises(OAuthError, match="unusable client_id"):
        await started(world, route(provider))


async def test_a_removal_revokes_the_token_of_a_renewal_under_way(world: World, provider: Provider) -> None:
    of = route(provider)
    found = await started(world, of)
    credential = await finished(world, found, provider.consent(found.url))
    provider.gate = asyncio.Event()
    call = asyncio.create_task(world.gateway.credentials.open(credential))
    while len(provider.forms) < 2:
        await asyncio.sleep(0.01)
    end = asyncio.create_task(world.gateway.credentials.authorizations.end(credential))
    await asyncio.sleep(0.1)
    provider.gate.set()
    await call
    assert (await end).revoked
    assert provider.refresh == set()
