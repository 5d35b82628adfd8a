"""Signing in at an identity provider: a real one on loopback, the real flow, and every refusal."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from jelmore.api.cookies import BROWSER_HEADER, LOGIN_COOKIE
from jelmore.api.services import ApiConfig
from jelmore.api.sign_in import ATTEMPT_COOKIE
from jelmore.control import gateway_admin
from jelmore.control.sign_in import OidcConfig, SignIn
from jelmore.drivers.http_identity_provider import HttpIdentityProvider
from jelmore.drivers.postgres_accounts import PostgresAccounts
from jelmore.ports import Role
from tests.integration.api.world import World, world
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, Key, identity_provider

pytestmark = pytest.mark.integration
URL = "http://test"
BEGIN, SESSIONS, AUDIT = "/api/v1/login/oidc", "/api/v1/sessions", "/api/v1/admin/audit"
GROUPS = {Role.ADMIN: frozenset({"ops"}), Role.CLIENT: frozenset({"devs"}), Role.READONLY: frozenset({"all"})}
WRITE = {BROWSER_HEADER: "1"}


@dataclass
class Place:
    """A manager, its provider, and a browser."""

    api: World
    provider: IdentityProvider
    config: OidcConfig
    sign_in: SignIn

    def browser(self) -> httpx.AsyncClient:
        return self.api.client("")

    async def began(self, browser: httpx.AsyncClient, query: str = "") -> httpx.URL:
        """Begin, and return where the provider sends the browser back to."""
        sent = await browser.get(BEGIN + query)
        assert sent.status_code == 303, sent.text
        assert sent.headers["location"].startswith(f"{self.provider.issuer}/authorize?"), sent.headers["location"]
        async with httpx.AsyncClient() as at_provider:
            back = await at_provider.get(sent.headers["location"])
        assert back.status_code == 303, back.text
        return httpx.URL(back.headers["location"])

    async def come_back(self, browser: httpx.AsyncClient, url: httpx.URL) -> str:
        """Come back; return the word for the page."""
        answer = await browser.get(url.raw_path.decode())
        assert answer.status_code == 303, answer.text
        location: str = answer.headers["location"]
        assert location.startswith(f"{URL}/#/signin/"), location
        return location.removeprefix(f"{URL}/#/signin/")

    async def outcome(self) -> str:
        """Sign in with a new browser; return the word for the page."""
        async with self.browser() as http:
            return await self.come_back(http, await self.began(http))


@pytest_asyncio.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    async with identity_provider() as provider:
        provider.claims["groups"] = ["devs"]
        config = OidcConfig(
            issuer=provider.issuer,
            client_id=CLIENT_ID,
            redirect_uri=f"{URL}/api/v1/login/oidc/callback",
            groups=GROUPS,
            secret=lambda: CLIENT_SECRET,
            name="the company",
        )
        http, accounts = HttpIdentityProvider(timeout_s=1), PostgresAccounts(database_url)
        sign_in = SignIn(config, http, accounts)
        async with world(
            ApiConfig(public_url=URL, readmit_every_s=0.2), database_url=database_url, sign_in=sign_in
        ) as api:
            yield Place(api, provider, config, sign_in)
        await http.close()
        await accounts.close()


@asynccontextmanager
async def signed_in(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a browser that has signed in."""
    async with place.browser() as browser:
        assert await place.come_back(browser, await place.began(browser)) == "done"
        yield browser


# --- what works


async def test_a_person_signs_in_and_has_sessions_of_their_own(place: Place) -> None:
    async with place.browser() as browser:
        methods = (await browser.get("/api/v1/login")).json()
        assert methods == {"key": True, "oidc": {"name": "the company", "url": BEGIN}}
        back = await place.began(browser)
        answer = await browser.get(back.raw_path.decode())
        cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith(LOGIN_COOKIE))
        assert all(each in cookie.lower() for each in ("httponly", "samesite=strict", "max-age=3600"))
        assert ATTEMPT_COOKIE not in browser.cookies
        me = (await browser.get("/api/v1/me")).json()
        assert (me["name"], me["role"], me["user_id"]) == ("Ann", "client", "ann-1")
        created = await browser.post(SESSIONS, headers=WRITE)
        assert created.status_code == 201, created.text
        assert created.json()["user_id"] == "ann-1"
        assert (await browser.post(SESSIONS, headers=WRITE, json={"user_id": "bob"})).status_code == 403
        assert (
            await browser.post("/api/v1/login", headers=WRITE)
        ).status_code == 403  # no renewal without the provider
    async with signed_in(place) as again:  # in another browser, later
        assert [each["id"] for each in (await again.get(SESSIONS)).json()] == [created.json()["id"]]
        assert (await again.get("/api/v1/me")).json()["id"] == me["id"]
    async with place.api.client() as admin:
        noted = [each for each in (await admin.get(f"{AUDIT}?action=sign_in")).json() if each["actor"] == me["id"]]
        assert [(each["actor_name"], each["outcome"]) for each in noted] == [("Ann", "signed_in")] * 2
        kept = next(each for each in (await admin.get("/api/v1/admin/keys")).json() if each["id"] == me["id"])
        assert kept["user_id"] == "ann-1"
        assert (await admin.post(f"/api/v1/admin/keys/{me['id']}/rotate")).status_code == 404


async def test_groups_give_the_role_and_take_it_away(place: Place) -> None:
    for groups, role in ((["all", "ops", "devs"], "admin"), (["all", "devs"], "client"), (["all"], "readonly")):
        place.provider.claims["groups"] = groups
        async with signed_in(place) as browser:
            assert (await browser.get("/api/v1/me")).json()["role"] == role
    async with signed_in(place) as browser:
        place.provider.claims["groups"] = ["nobody"]
        assert await place.outcome() == "no_group"
        assert (await browser.get("/api/v1/me")).status_code == 401  # the earlier sign-in has ended too
    async with place.api.client() as admin:
        assert (await admin.get(f"{AUDIT}?action=sign_in")).json()[-1]["outcome"] == "no_group"


@pytest.mark.parametrize("groups", [None, [], {"a": "devs"}, 5, [{"name": "devs"}]])
async def test_without_a_group_nobody_gets_in(place: Place, groups: object) -> None:
    place.provider.claims["groups"] = groups
    assert await place.outcome() == "no_group"


async def test_groups_may_come_from_the_userinfo_endpoint_of_the_same_person(place: Place) -> None:
    del place.provider.claims["groups"]
    place.provider.userinfo = {"sub": "ann-1", "groups": "devs"}
    assert await place.outcome() == "done"
    place.provider.userinfo = {"sub": "eve-1", "groups": ["ops"]}
    assert await place.outcome() == "bad_token"


async def test_a_silent_sign_in_asks_nothing(place: Place) -> None:
    async with place.browser() as browser:
        assert await place.come_back(browser, await place.began(browser, "?silent=1")) == "done"
        place.provider.signed_in = False
        assert await place.come_back(browser, await place.began(browser, "?silent=1")) == "ended"


async def test_a_browser_at_another_name_of_this_server_goes_to_its_public_one_first(place: Place) -> None:
    async with place.browser() as browser:
        answer = await browser.get(f"{BEGIN}?silent=1", headers={"Host": "127.0.0.1"})
        assert answer.headers["location"] == f"{URL}{BEGIN}?here=1&silent=1"


# --- what is refused


async def test_a_state_of_another_browser_is_refused(place: Place) -> None:
    async with place.browser() as victim, place.browser() as attacker:
        back = await place.began(attacker)
        assert await place.come_back(victim, back) == "other_attempt"  # without a cookie
        await place.began(victim)
        assert await place.come_back(victim, back) == "other_attempt"  # with that of an attempt of its own
        assert LOGIN_COOKIE not in victim.cookies


async def test_an_answer_of_another_provider_is_refused(place: Place) -> None:
    async with place.browser() as browser:
        back = await place.began(browser)
        assert await place.come_back(browser, back.copy_set_param("iss", "https://other.test")) == "other_attempt"


async def test_a_code_works_once_also_where_the_provider_takes_it_twice(place: Place) -> None:
    async with place.browser() as browser:
        back = await place.began(browser)
        cookie = browser.cookies[ATTEMPT_COOKIE]
        assert await place.come_back(browser, back) == "done"
        for replayable, word in ((False, "code_refused"), (True, "other_attempt")):
            place.provider.replayable = replayable
            if replayable:
                back = await place.began(browser)
                cookie = browser.cookies[ATTEMPT_COOKIE]
                assert await place.come_back(browser, back) == "done"
            async with place.browser() as thief:
                thief.cookies.set(ATTEMPT_COOKIE, cookie)
                assert await place.come_back(thief, back) == word
                assert LOGIN_COOKIE not in thief.cookies


async def test_an_attempt_that_took_too_long_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.browser() as browser:
        back = await place.began(browser)
        monkeypatch.setattr(place.sign_in, "_now", lambda: time.time() + 3600)
        assert await place.come_back(browser, back) == "too_slow"


def _with_secret_of_the_public_key(provider: IdentityProvider, body: dict[str, Any]) -> str:
    """Return a token that a library accepts which takes the public key for an HMAC's secret."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = f"{part(json.dumps({'alg': 'HS256', 'kid': provider.key.name}).encode())}.{part(json.dumps(body).encode())}"
    secret = json.dumps(provider.key.public()).encode()
    return f"{text}.{part(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


TOKENS: dict[str, Callable[[IdentityProvider, dict[str, Any]], str | None]] = {
    "another nonce": lambda p, body: jwt.encode({**body, "nonce": "x"}, p.key.private, "RS256", {"kid": p.key.name}),
    "no nonce": lambda p, body: jwt.encode(
        {k: v for k, v in body.items() if k != "nonce"}, p.key.private, "RS256", {"kid": p.key.name}
    ),
    "another audience": lambda p, body: p_encode(p, body, aud="other"),
    "several audiences without a party": lambda p, body: p_encode(p, body, aud=[CLIENT_ID, "other"]),
    "another party": lambda p, body: p_encode(p, body, azp="other"),
    "another issuer": lambda p, body: p_encode(p, body, iss="https://other.test"),
    "half a character as nonce": lambda p, body: p_encode(p, body, nonce="\ud800"),
    "endless": lambda p, body: p_encode(p, body, exp=float("inf")),
    "expired": lambda p, body: p_encode(p, body, exp=int(time.time()) - 120),
    "no expiry": lambda p, body: p_encode(p, {k: v for k, v in body.items() if k != "exp"}),
    "from the future": lambda p, body: p_encode(p, body, iat=int(time.time()) + 600),
    "nobody": lambda p, body: p_encode(p, body, sub=""),
    "none": lambda _, body: jwt.encode(body, None, "none"),  # type: ignore[arg-type]
    "the public key as a secret": _with_secret_of_the_public_key,
    "a stranger's key": lambda p, body: jwt.encode(
        body, generate_private_key(65537, 2048), "RS256", {"kid": p.key.name}
    ),
    "an unknown key": lambda _, body: jwt.encode(body, Key("other").private, "RS256", {"kid": "other"}),
    "no token": lambda *_: "hello",
    "a huge token": lambda p, body: p_encode(p, body, padding="x" * 200_000),
}


def p_encode(provider: IdentityProvider, body: dict[str, Any], **more: Any) -> str:
    return jwt.encode({**body, **more}, provider.key.private, "RS256", {"kid": provider.key.name})


@pytest.mark.parametrize("name", TOKENS)
async def test_an_id_token_that_is_not_for_this_attempt_is_refused(place: Place, name: str) -> None:
    async with place.browser() as browser:
        sent = await browser.get(BEGIN)
        asked = httpx.URL(sent.headers["location"])
        body = jwt.decode(place.provider.signed(nonce=asked.params["nonce"]), options={"verify_signature": False})
        place.provider.token = p_encode(place.provider, body)
        async with httpx.AsyncClient() as at_provider:
            back = httpx.URL((await at_provider.get(asked)).headers["location"])
        place.provider.token = TOKENS[name](place.provider, body)
        assert await place.come_back(browser, back) == "bad_token"
        assert LOGIN_COOKIE not in browser.cookies


async def test_keys_are_replaced_by_the_provider_and_a_short_one_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await place.outcome() == "done"
    place.provider.rotate()
    assert await place.outcome() == "bad_token"  # the keys were asked for a moment ago
    monkeypatch.setattr(place.sign_in.provider, "_now", lambda: time.monotonic() + 6)
    assert await place.outcome() == "done"
    assert place.provider.requests.count("/keys") == 2
    place.provider.published = [Key(place.provider.key.name, generate_private_key(65537, 1024)).public()]
    monkeypatch.setattr(place.sign_in.provider, "_now", lambda: time.monotonic() + 610)
    assert await place.outcome() == "bad_token"


async def test_a_key_that_the_provider_withdrew_is_forgotten(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await place.outcome() == "done"
    place.provider.published = [Key("next").public()]
    monkeypatch.setattr(place.sign_in.provider, "_now", lambda: time.monotonic() + 601)
    assert await place.outcome() == "bad_token"


async def test_a_wrong_secret_and_a_wrong_document_say_that_an_operator_must_act(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.sign_in.config = replace(place.config, secret=lambda: "wrong")
    assert await place.outcome() == "provider_misconfigured"
    for document in (
        {"issuer": "https://other.test"},
        {"authorization_endpoint": "http://other.test/authorize"},
        {"token_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
    ):
        monkeypatch.setattr(place.sign_in.provider, "_metadata", None)
        place.provider.document = document
        async with place.browser() as browser:
            answer = await browser.get(BEGIN)
            assert answer.headers["location"] == f"{URL}/#/signin/provider_misconfigured"


async def test_a_provider_that_hangs_or_is_away_hurts_nobody_else(place: Place) -> None:
    place.provider.hanging = "/"
    async with place.browser() as browser, place.api.client() as http:
        hanging = [asyncio.create_task(browser.get(BEGIN), name=f"sign-in {n}") for n in range(40)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(0.9):
            assert (await http.post(SESSIONS)).status_code == 201
        words = {(await each).headers["location"].rpartition("/")[2] for each in hanging}
        assert words == {"provider_away", "busy"}
        place.provider.hanging = ""
        place.provider.status = 503
        place.sign_in.provider._failed = None
        answer = await browser.get(BEGIN)
        assert answer.headers["location"] == f"{URL}/#/signin/provider_away"
        place.provider.status = 200
        place.sign_in.provider._failed = None
        back = await place.began(browser)
        place.provider.hanging = "/"
        assert await place.come_back(browser, back) == "provider_away"


async def test_a_person_sets_a_model_credential_of_their_own_and_no_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/v1/credentials/ANTHROPIC_API_KEY"
    async with place.api.client() as admin:
        assert (await admin.put(path, params={"user_id": "bob"}, json={"value": "k"})).status_code == 204
    async with signed_in(place) as browser:
        mine = {"user_id": "ann-1"}
        assert (await browser.put(path, params=mine, json={"value": "k"}, headers=WRITE)).status_code == 204
        for other in ({"user_id": "bob"}, {}):
            assert (await browser.put(path, params=other, json={"value": "k"}, headers=WRITE)).status_code == 403
            assert (await browser.delete(path, params=other, headers=WRITE)).status_code == 403
        assert [each["owner"] for each in (await browser.get("/api/v1/credentials")).json()] == ["ann-1"]
        monkeypatch.setattr(gateway_admin, "MAX_OF_ONE", 1)  # else one person could use up everybody's
        another = await browser.put(f"{path}2", params=mine, json={"value": "k"}, headers=WRITE)
        assert (another.status_code, "remove one" in another.text) == (422, True), another.text
        assert (await browser.put(path, params=mine, json={"value": "new"}, headers=WRITE)).status_code == 204
        assert (await browser.delete(path, params=mine, headers=WRITE)).status_code == 204


# --- how it ends


async def test_a_sign_in_ends_by_itself_with_its_streams_and_tokens(place: Place) -> None:
    place.sign_in.config = replace(place.config, login_ttl_s=2)
    async with signed_in(place) as browser:
        session = (await browser.post(SESSIONS, headers=WRITE)).json()
        token = session["token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] <= time.time() + 2
        async with asyncio.timeout(10), browser.stream("GET", f"{SESSIONS}/{session['id']}/stream?after=0") as stream:
            async for _ in stream.aiter_lines():
                pass
        await asyncio.sleep(1)
        assert (await browser.get("/api/v1/me")).status_code == 401


async def test_an_operator_revokes_an_account_for_good(place: Place) -> None:
    async with signed_in(place) as browser, place.api.client() as admin:
        account = (await browser.get("/api/v1/me")).json()["id"]
        assert (await admin.delete(f"/api/v1/admin/keys/{account}")).status_code == 204
        assert (await browser.get("/api/v1/me")).status_code == 401
        assert await place.outcome() == "revoked"


async def test_failed_attempts_are_limited_per_address(place: Place) -> None:
    address = {"X-Forwarded-For": "198.51.100.7"}
    async with place.browser() as browser:
        words = [
            (await browser.get(f"{BEGIN}/callback?state=x&code=y", headers=address))
            .headers["location"]
            .rpartition("/")[2]
            for _ in range(62)
        ]
    assert words[0] == "other_attempt"
    assert words[-1] == "busy"
    assert await place.outcome() == "done"  # from elsewhere


async def test_without_a_provider_there_is_nothing_to_sign_in_at(api: World) -> None:
    async with api.client("") as browser:
        assert (await browser.get("/api/v1/login")).json() == {"key": True, "oidc": None}
        assert (await browser.get(BEGIN)).status_code == 404
        assert (await browser.get(f"{BEGIN}/callback?code=x&state=y")).status_code == 404
