"""Keeps the access tokens of OAuth credentials and renews them: one request to a token URL at a time per credential.

Many requests of many sessions may need the same token. If each asked for it, a server that gives a new refresh token
with each answer would take the second request for a stolen token and revoke them all. So callers wait for one shared
request, a new refresh token is on disk before anybody gets the access token that came with it, and a caller that leaves
does not end the request that others wait for.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import aiohttp
import structlog
from pydantic import ValidationError
from yarl import URL

from jelmore_gateway.oauth.requests import Answer, OAuthError, described, read_answer, token_request
from jelmore_gateway.oauth.rotated import RotatedTokens
from jelmore_gateway.state import StateError, now
from jelmore_gateway.vault import Vault, VaultError
from jelmore_protocol.gateway import CredentialState, Scope, SealedCredential
from jelmore_protocol.oauth import OAuthClient

_log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES: Final = 64 * 1024

type Key = tuple[Scope, str, str]
type Connect = Callable[[str, bool], aiohttp.ClientSession]
"""Returns the client for a URL whose address may be private or not. Raises OAuthError for one that is forbidden."""


@dataclass(frozen=True, slots=True)
class OAuthTimes:
    """Deadlines and pauses, in seconds."""

    deadline_s: float = 15.0  # of one request to a token URL
    renew_s: float = 60.0  # before its end a token is renewed while it is still used; a fifth of a shorter lifetime
    first_pause_s: float = 1.0  # after a failure; doubled with each one that follows
    longest_pause_s: float = 60.0
    young_s: float = 5.0  # a token that is refused while it is younger is not replaced: the next would be refused too


@dataclass(slots=True, eq=False)
class _Held:
    """One credential: its client, its present token and how the last request went."""

    key: Key
    client: OAuthClient
    fingerprint: str
    refresh_token: str = field(repr=False)
    access: str = field(default="", repr=False)
    obtained_at: float = 0.0
    renew_at: float = 0.0
    ends_at: float = 0.0
    expires_at: datetime | None = None
    request: asyncio.Task[None] | None = None
    failure: OAuthError | None = None
    failures: int = 0
    retry_at: float = 0.0
    asked_at: datetime | None = None

    def present(self, at: float) -> str:
        """Return the access token while it is valid, else nothing."""
        return self.access if at < self.ends_at else ""


class OAuthTokens:
    """The access tokens of the OAuth credentials of a configuration. `close` ends the requests that are under way."""

    def __init__(self, vault: Vault, rotated: RotatedTokens, connect: Connect, times: OAuthTimes | None = None) -> None:
        self._vault = vault
        self._rotated = rotated
        self._connect = connect
        self._times = times or OAuthTimes()
        self._held: dict[Key, _Held] = {}
        self._requests: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End what is under way. May run twice."""
        for request in tuple(self._requests):
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)

    async def token(self, sealed: SealedCredential) -> str:
        """Return a valid access token, after a request for one if there is none. Raises OAuthError, VaultError.

        One that ends soon is returned while its successor is asked for.
        """
        held, at = await self._find(sealed), _time()
        if token := held.present(at):
            if held.request is None and at >= held.renew_at and at >= held.retry_at:
                self._begin(held)
            return token
        await self._renew(held)
        return held.access

    async def replace(self, sealed: SealedCredential, refused: str) -> str | None:
        """Return another token than the one that a server refused, None when there is none now. Never raises.

        A token that was asked for just now is not replaced: a server that refuses every token would otherwise make
        the gateway ask for one with each call. A credential that was set again since the call began is left
        alone: the call's own refresh token is not the present one any more.
        """
        held, at = self._held.get(_key(sealed)), _time()
        try:
            if held is None or held.fingerprint != _fingerprint(self._vault.open(sealed, sealed.sealed, sealed.kind)):
                return None
            if (token := held.present(at)) and token != refused:
                return token
            if token and at - held.obtained_at < self._times.young_s:
                return None
            await self._renew(held)
        except (OAuthError, VaultError):
            return None
        return held.access if held.access != refused else None

    async def refresh_token(self, sealed: SealedCredential) -> tuple[OAuthClient, str]:
        """Return the client of a credential and its newest refresh token, that of a request under way included.

        Raises OAuthError, VaultError.
        """
        held = await self._find(sealed)
        if held.request is not None:
            await asyncio.shield(held.request)
        return held.client, held.refresh_token

    async def keep_only(self, credentials: Iterable[SealedCredential]) -> None:
        """Forget the tokens of credentials that are not among these, also on disk. Raises StateError.

        Those that stay are encrypted with the present key on return, so that the one before may go.
        """
        keys = {_key(each) for each in credentials if each.kind == "oauth"}
        for key in [key for key in self._held if key not in keys]:
            del self._held[key]
        await self._rotated.keep_only(keys)

    def states(self) -> list[CredentialState]:
        """Return how the last request of each credential that was used went, by owner and name."""
        return [
            CredentialState(
                scope=scope,
                owner=owner,
                name=name,
                ok=held.failure is None,
                problem="" if held.failure is None else str(held.failure),
                at=held.asked_at,
                expires_at=held.expires_at,
            )
            for (scope, owner, name), held in sorted(self._held.items())
            if held.asked_at is not None
        ]

    async def _find(self, sealed: SealedCredential) -> _Held:
        """Return what is held of a credential. One that was set again begins from its own values."""
        text = self._vault.open(sealed, sealed.sealed, sealed.kind)
        fingerprint = _fingerprint(text)
        key = _key(sealed)
        held = self._held.get(key)
        if held is not None and held.fingerprint == fingerprint:
            return held
        try:
            client = OAuthClient.model_validate_json(text)
        except ValidationError:
            raise OAuthError("not_opened", "the credential is not one of OAuth; set it again") from None
        rotated = await self._rotated.find(key, fingerprint)
        held = self._held.get(key)  # another caller may have come first
        if held is None or held.fingerprint != fingerprint:
            held = _Held(key, client, fingerprint, rotated or client.refresh_token)
            self._held[key] = held
        return held

    async def _renew(self, held: _Held) -> None:
        """Wait for the one request that is under way, or make it. Raises OAuthError while it must not be made again."""
        if held.request is None:
            if held.failure is not None and _time() < held.retry_at:
                raise held.failure
            self._begin(held)
        request = held.request
        if request is not None:
            await asyncio.shield(request)
        if held.failure is not None:
            raise held.failure

    def _begin(self, held: _Held) -> None:
        """Make the request in a task of its own. The caller has seen that none is under way."""
        held.request = request = asyncio.create_task(self._ask(held), name=f"oauth token {held.key[2]}")
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def _ask(self, held: _Held) -> None:
        """Make one request and keep what comes of it; a failure is kept, not raised."""
        held.asked_at = now()
        try:
            async with described("the token URL"):
                answer = await self._exchange(held)
            await self._keep(held, answer)
            held.failure, held.failures = None, 0
        except OAuthError as error:
            pause = min(self._times.first_pause_s * 2**held.failures, self._times.longest_pause_s)
            held.failure, held.failures = error, min(held.failures + 1, 30)
            held.retry_at = _time() + pause
            _log.warning("no_oauth_token", credential=held.key[2], scope=held.key[0].value, reason=error.reason)
        finally:
            held.request = None

    async def _exchange(self, held: _Held) -> Answer:
        client = held.client
        headers, form = token_request(client, held.refresh_token)
        session = self._connect(client.token_url, client.private)
        async with (
            asyncio.timeout(self._times.deadline_s),
            session.post(
                URL(client.token_url, encoded=True), data=form, headers=headers, allow_redirects=False
            ) as response,
        ):
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise OAuthError("bad_response", f"the token URL answers more than {MAX_ANSWER_BYTES} bytes")
            return read_answer(response.status, bytes(body))

    async def _keep(self, held: _Held, answer: Answer) -> None:
        """Take the new tokens; a new refresh token is on disk first."""
        if answer.refresh and answer.refresh != held.refresh_token and held.client.grant == "refresh_token":
            held.refresh_token = answer.refresh
            if self._held.get(held.key) is held:
                try:
                    await self._rotated.keep(held.key, held.fingerprint, answer.refresh)
                except (StateError, VaultError) as error:  # the token is good; a restart would lose its successor
                    _log.error("refresh_token_not_stored", credential=held.key[2], error=str(error))
        at, lifetime_s = _time(), answer.lifetime_s
        held.access, held.obtained_at = answer.access, at
        if lifetime_s is None:
            held.renew_at = held.ends_at = float("inf")
            held.expires_at = None
        else:
            held.renew_at = at + lifetime_s - min(self._times.renew_s, lifetime_s / 5)
            held.ends_at = at + lifetime_s - min(5.0, lifetime_s / 20)
            held.expires_at = now() + timedelta(seconds=lifetime_s)


def _key(sealed: SealedCredential) -> Key:
    return sealed.scope, sealed.owner, sealed.name


def _fingerprint(text: str) -> str:
    """Return a name of what a credential holds. It cannot be guessed back: a refresh token is random."""
    return hashlib.sha256(text.encode()).hexdigest()


def _time() -> float:
    return asyncio.get_running_loop().time()
