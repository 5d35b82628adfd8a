"""The two steps of signing in: where to send a browser, and what it comes back with."""

import base64
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import structlog

from jelmore.control.requests import Caller
from jelmore.control.sign_in.attempt import ATTEMPT_S, Attempt
from jelmore.control.sign_in.claims import (
    OidcConfig,
    Refusal,
    SignInError,
    account_of,
    checked_claims,
    groups_in,
    same_text,
    with_userinfo,
)
from jelmore.control.sign_in.provider import Metadata, Provider
from jelmore.ports.sign_in import AccountStore, IdentityProvider, ProviderAnswer
from jelmore.session.errors import DependencyError

_log = structlog.get_logger(__name__)

MOST_AT_ONCE: Final = 16
"""Sign-ins that wait for the provider. A provider that hangs holds no more of this server than these."""

_OK: Final = 200
_SERVER_ERROR: Final = 500
_ID_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_SILENT_REFUSALS: Final = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)


@dataclass(frozen=True, slots=True)
class Departure:
    """Where to send a browser, and the text of the cookie that it must bring back."""

    url: str
    attempt: str


class SignIn:
    """Signs people in at one identity provider. Raises only SignInError, and DependencyError of PostgreSQL."""

    def __init__(
        self,
        config: OidcConfig,
        http: IdentityProvider,
        accounts: AccountStore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.provider = Provider(http, config.issuer)
        self._http = http
        self._accounts = accounts
        self._now = now
        self._waiting = 0

    async def begin(self, *, silent: bool) -> Departure:
        """Return where to send a browser. `silent`: the provider must answer without asking the person anything."""
        metadata = await self._bounded(self.provider.metadata)
        attempt = Attempt.new(self._now())
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.config.redirect_uri,
            "scope": self.config.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
            **({"prompt": "none"} if silent else {}),
        }
        mark = "&" if "?" in metadata.authorization_url else "?"
        return Departure(f"{metadata.authorization_url}{mark}{urlencode(query)}", attempt.text)

    async def finish(self, cookie: str, answer: Mapping[str, str]) -> tuple[Caller, str]:
        """Return who came back with the parameters `answer`, and their id token; the same attempt succeeds once."""
        attempt = self._checked(cookie, answer)
        return await self._bounded(lambda: self._finish(attempt, answer["code"]))

    async def departure(self, id_token: str | None, back: str) -> str | None:
        """Return where a browser ends its sign-in at the provider (OpenID Connect RP-Initiated Logout 1.0).

        `id_token` is a hint which sign-in it is; `back` is where the provider sends the browser then. None when the
        provider has no such address, or does not answer now.
        """
        try:
            url = (await self._bounded(self.provider.metadata)).end_session_url
        except SignInError as error:
            _log.warning("provider_sign_out_unknown", error=str(error))
            return None
        if url is None:
            return None
        hint = {"id_token_hint": id_token} if id_token is not None and _ID_TOKEN.fullmatch(id_token) else {}
        query = {"client_id": self.config.client_id, "post_logout_redirect_uri": back, **hint}
        return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"

    def _checked(self, cookie: str, answer: Mapping[str, str]) -> Attempt:
        attempt = Attempt.parse(cookie)
        if attempt is None or not attempt.has_state(answer.get("state", "")):
            raise SignInError(Refusal.STATE, "the state is not of an attempt of this browser")
        if attempt.has_run_out(self._now()):
            raise SignInError(Refusal.EXPIRED, f"the attempt took more than {ATTEMPT_S} s")
        if "iss" in answer and answer["iss"] != self.config.issuer:  # RFC 9207
            raise SignInError(Refusal.STATE, "the answer is of another provider")
        if "error" in answer:
            ended = answer["error"] in _SILENT_REFUSALS
            raise SignInError(Refusal.ENDED if ended else Refusal.CANCELLED, "the provider signed nobody in")
        if not answer.get("code"):
            raise SignInError(Refusal.CODE, "the provider sent no code")
        return attempt

    async def _finish(self, attempt: Attempt, code: str) -> tuple[Caller, str]:
        metadata = await self.provider.metadata()
        tokens = await self._exchange(metadata, attempt, code)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise SignInError(Refusal.TOKEN, "the provider sent no id token; is `openid` among the scopes?")
        key = await self.provider.key_of(id_token)
        claims = checked_claims(id_token, key, self.config, attempt.nonce)
        claims = await self._with_userinfo(metadata, claims, tokens.get("access_token"))
        try:
            account = account_of(claims, self.config)
        except SignInError as error:
            if error.account is not None:  # what was opened when the groups still allowed it ends too
                await self._accounts.end_sign_in(error.account.id)
            raise
        if not await self._accounts.use_once(attempt.digest, 2 * ATTEMPT_S):
            raise SignInError(Refusal.STATE, "this attempt has signed somebody in already", account)
        found = await self._accounts.sign_in(account, self.config.login_ttl_s)
        if found is None:
            raise SignInError(Refusal.REVOKED, "an operator revoked this account", account)
        _log.info("signed_in", account=found.id, role=found.role.value)
        return Caller(found), id_token

    async def _exchange(self, metadata: Metadata, attempt: Attempt, code: str) -> Mapping[str, Any]:
        """Return the tokens for a code. It is sent once: a code that was used twice is revoked by its provider."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.config.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        secret, authorization = self._secret(), None
        if secret is None or metadata.posts_secret:
            form |= {"client_id": self.config.client_id, **({"client_secret": secret} if secret else {})}
        else:
            pair = f"{quote(self.config.client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749, section 2.3.1
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        answer = await self._http.call(metadata.token_url, form=form, authorization=authorization)
        if answer.status == _OK:
            return answer.body
        raise self._refused(answer)

    def _secret(self) -> str | None:
        try:
            return self.config.secret()
        except (OSError, ValueError) as error:
            raise SignInError(
                Refusal.MISCONFIGURED, f"JELMORE_OIDC_CLIENT_SECRET_FILE: {type(error).__name__}"
            ) from None

    @staticmethod
    def _refused(answer: ProviderAnswer) -> SignInError:
        code = answer.body.get("error")
        if answer.status >= _SERVER_ERROR:
            return SignInError(Refusal.AWAY, f"the provider answered {answer.status} to the code")
        if code in {"invalid_client", "unauthorized_client"}:
            return SignInError(
                Refusal.MISCONFIGURED, "the provider does not accept JELMORE_OIDC_CLIENT_ID or its secret"
            )
        return SignInError(Refusal.CODE, f"the provider refused the code: {str(code)[:64]!r}")

    async def _with_userinfo(
        self, metadata: Metadata, claims: Mapping[str, Any], access_token: object
    ) -> Mapping[str, Any]:
        """Return the claims, with those of the userinfo endpoint when the id token lacks groups or the user's name.

        Many providers put claims of scopes only there (OpenID Connect Core 1.0, section 5.4). What the id token says
        counts before what the endpoint says.
        """
        groups = groups_in(claims, self.config.groups_claim)
        complete = groups and self.config.user_claim in claims
        if complete or metadata.userinfo_url is None or not isinstance(access_token, str):
            return claims
        answer = await self._http.call(metadata.userinfo_url, authorization=f"Bearer {access_token}")
        if answer.status != _OK:
            raise SignInError(Refusal.AWAY, f"the provider's userinfo answered {answer.status}")
        if not answer.body:
            raise SignInError(Refusal.MISCONFIGURED, "the provider's userinfo answered without JSON (signed, perhaps)")
        if not same_text(answer.body.get("sub"), str(claims["sub"])):
            raise SignInError(Refusal.TOKEN, "the provider's userinfo is about somebody else")
        return with_userinfo(claims, answer.body, self.config)

    async def _bounded[T](self, act: Callable[[], Awaitable[T]]) -> T:
        """Await `act` among the sign-ins that may wait for the provider."""
        if self._waiting >= MOST_AT_ONCE:
            raise SignInError(Refusal.BUSY, f"{MOST_AT_ONCE} sign-ins wait for the provider already")
        self._waiting += 1
        try:
            return await act()
        except DependencyError as error:
            if error.dependency != "identity provider":
                raise
            raise SignInError(Refusal.AWAY, str(error)) from None
        finally:
            self._waiting -= 1
