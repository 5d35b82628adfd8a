"""A person lets the gateway use a server in their name: metadata, registration, PKCE, the code, and the end of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from jelmore_gateway.oauth import OAuthError
from jelmore_protocol.authorization import AuthorizationAnswer, AuthorizationRequest, AuthorizationStarted
from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Route, Scope, SealedCredential
from jelmore_protocol.oauth import RouteOAuth
from tests.integration.gateway.world import World
from tests.support.authorization_server import AuthorizationServer
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration

REDIRECT = "https://jelmore.example/api/v1/authorizations/callback"
ANN = CredentialKey(scope=Scope.USER, owner="ann", name="docs")


@pytest.fixture
async def provider() -> AsyncIterator[AuthorizationServer]:
    made = AuthorizationServer()
    async with listening(made.app()) as made.port:
        yield made


def route(provider: AuthorizationServer, **more: Any) -> Route:
    return Route(name="mcp/docs", url=f"{provider.origin}/mcp", private=True, credential="docs", **more)


async def started(world: World, of: Route) -> AuthorizationStarted:
    asked = AuthorizationRequest(route=of, whose=ANN, redirect_uri=REDIRECT)
    return await world.gateway.credentials.authorizations.begin(asked)


async def finished(world: World, found: AuthorizationStarted, back: dict[str, str], **more: Any) -> SealedCredential:
    given = {"whose": ANN, "sealed": found.sealed, "code": back["code"], "issuer": back["iss"], **more}
    done = await world.gateway.credentials.authorizations.finish(AuthorizationAnswer(**given))
    return SealedCredential(**ANN.model_dump(), kind=done.kind, sealed=done.sealed, key_id=done.key_id)


async def test_a_person_authorizes_the_gateway_and_only_their_sessions_use_it(
    world: World, provider: AuthorizationServer
) -> None:
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


async def test_a_code_is_worth_nothing_elsewhere_and_twice(world: World, provider: AuthorizationServer) -> None:
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


def own_client(provider: AuthorizationServer) -> RouteOAuth:
    return RouteOAuth(issuer=provider.origin, client_id="me", client_secret="docs-client", scopes=["write"])


def test_a_client_is_of_one_authorization_server() -> None:
    """Else a server could name its own in the metadata, and would get the client's secret and the person's code."""
    with pytest.raises(ValueError, match="issuer: is missing"):
        RouteOAuth(client_id="me", client_secret="docs-client")


async def test_a_configured_client_is_used_and_its_secret_is_in_no_url(
    world: World, provider: AuthorizationServer
) -> None:
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


async def test_without_a_refresh_token_the_access_token_is_the_credential(
    world: World, provider: AuthorizationServer
) -> None:
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
    world: World, provider: AuthorizationServer, metadata: dict[str, Any], resource: dict[str, Any], message: str
) -> None:
    provider.metadata, provider.resource = metadata, resource
    with pytest.raises(OAuthError, match=message):
        await started(world, route(provider))
    assert json.dumps(provider.forms) == "[]"


async def test_a_route_for_public_addresses_leads_to_no_private_one(
    world: World, provider: AuthorizationServer
) -> None:
    with pytest.raises(OAuthError, match="may not be reached"):
        await started(world, route(provider).model_copy(update={"private": False}))


async def test_a_private_route_may_not_send_the_gateway_to_another_private_host(
    world: World, provider: AuthorizationServer
) -> None:
    provider.resource = {"authorization_servers": [f"http://localhost:{provider.port}"]}
    with pytest.raises(OAuthError, match="no https URL"):
        await started(world, route(provider))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", ["token", "registration", "revocation"])
async def test_a_private_servers_endpoints_are_on_its_own_host_or_public(
    world: World, provider: AuthorizationServer, name: str, scheme: str
) -> None:
    provider.metadata = {f"{name}_endpoint": f"{scheme}://localhost:{provider.port}/{name}"}
    with pytest.raises(OAuthError, match="no https URL"):
        await started(world, route(provider))
    assert provider.clients == {}


async def test_what_a_registration_gives_is_checked_before_a_person_is_sent(
    world: World, provider: AuthorizationServer
) -> None:
    provider.registered = {"client_id": "c" * 2000}
    with pytest.raises(OAuthError, match="unusable client_id"):
        await started(world, route(provider))


async def test_a_removal_revokes_the_token_of_a_renewal_under_way(world: World, provider: AuthorizationServer) -> None:
    of = route(provider)
    found = await started(world, of)
    credential = await finished(world, found, provider.consent(found.url))
    provider.gate = asyncio.Event()
    call = asyncio.create_task(world.gateway.credentials.open(credential), name="call")
    while len(provider.forms) < 2:
        await asyncio.sleep(0.01)
    end = asyncio.create_task(world.gateway.credentials.authorizations.end(credential), name="removal")
    await asyncio.sleep(0.1)
    provider.gate.set()
    await call
    assert (await end).revoked
    assert provider.refresh == set()
