"""A person lets the gateway use a route's server in their name: OAuth's authorization code grant.

What begins it and what ends it come from the same key or account. Else somebody could send a link to a colleague, who
gives the consent, and have the colleague's tokens stored as their own.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from jelmore.control.gateway_admin import GatewayAdmin
from jelmore.control.requests import Caller
from jelmore.ports import Gateway, GatewayStore, StoredCredential
from jelmore.session.errors import ConflictError, InvalidRequestError, NotFoundError
from jelmore_protocol.authorization import (
    MAX_CODE_CHARACTERS,
    MAX_ISSUER_CHARACTERS,
    AuthorizationAnswer,
    AuthorizationRequest,
    Authorized,
)
from jelmore_protocol.gateway import MODEL_CREDENTIALS, CredentialKey, Route, Scope, SealedCredential

_log = structlog.get_logger(__name__)

FOR_S: Final = 600
"""How long a person may take at the authorization server."""

MOST: Final = 20
"""Authorizations that one key or account may have under way, those that failed to begin included."""


@dataclass(frozen=True, slots=True)
class Started:
    """Where the person gives the consent, and to whom."""

    url: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A credential that was stored."""

    whose: CredentialKey
    route: str
    authorized: Authorized


@dataclass(frozen=True, slots=True)
class Offered:
    """A route whose server can be authorized, and the credential that is stored for it, if there is one."""

    route: Route
    whose: CredentialKey
    stored: StoredCredential | None


class Authorizations:
    """Begins and finishes authorizations. `redirect_uri` is the callback on the manager's public URL."""

    def __init__(self, gateway: Gateway, stored: GatewayStore, admin: GatewayAdmin, redirect_uri: str) -> None:
        self._gateway = gateway
        self._stored = stored
        self._admin = admin
        self._redirect_uri = redirect_uri

    async def offered(self, caller: Caller) -> Sequence[Offered]:
        """Return the MCP routes that the caller may authorize: for their own user, an admin without one for everybody.

        Raises ForbiddenError for a caller who may authorize none.
        """
        user_id = caller.key.user_id
        none = _whose(user_id, "none")
        await self._admin.may_change(caller, none)
        stored = {_key(each.credential): each for each in await self._stored.credentials()}
        found = []
        for route in sorted(await self._stored.routes(), key=lambda each: each.name):
            if route.name.startswith("mcp/") and route.credential and _is_for(route, user_id):
                whose = _whose(user_id, route.credential)
                found.append(Offered(route, whose, stored.get(_key(whose))))
        return found

    async def begin(self, caller: Caller, route_name: str, user_id: str | None) -> Started:
        """Return where to send the person. Without `user_id`, for the caller's own user, or for everybody.

        Raises ForbiddenError, NotFoundError for a route that there is not for this user, InvalidRequestError for one
        without a credential, ConflictError for what its servers refuse, DependencyError.
        """
        user_id = caller.key.user_id if user_id is None else user_id
        routes = {each.name: each for each in await self._stored.routes()}
        route = routes.get(route_name)
        whose = _whose(user_id, (route.credential if route else "") or "none")
        await self._admin.may_change(caller, whose)
        if route is None or not _is_for(route, user_id):
            raise NotFoundError(f"there is no route {route_name[:80]}")
        if not route.credential:
            raise InvalidRequestError(f"route: {route.name} has no credential; register it with one")
        if route.credential in MODEL_CREDENTIALS:
            raise InvalidRequestError(f"route: {route.name} has the credential {route.credential}, which is a value")
        await self._admin.check_room(whose)
        place = f"begins {secrets.token_urlsafe()}"  # kept before a server is asked, which registers a client each time
        if not await self._stored.keep_authorization(
            place, caller.key.id, whose, route.name, "", for_s=FOR_S, most=MOST
        ):
            raise ConflictError(
                f"{MOST} authorizations were started in ten minutes and not finished; finish one, or wait"
            )
        started = await self._gateway.begin_authorization(
            AuthorizationRequest(route=route, whose=whose, redirect_uri=self._redirect_uri)
        )
        if not await self._stored.fill_authorization(place, _digest(started.state), started.sealed):
            raise ConflictError("this took too long; begin again")
        _log.info("authorization_started", route=route.name, by=caller.subject, issuer=started.issuer)
        return Started(started.url, started.issuer)

    async def finish(self, caller: Caller, state: str, code: str, issuer: str) -> Finished:
        """Exchange the code and store the credential, once.

        Raises NotFoundError for a state that this caller has not started, ConflictError for what the servers refuse,
        InvalidRequestError.
        """
        for name, text, most in (("code", code, MAX_CODE_CHARACTERS), ("iss", issuer, MAX_ISSUER_CHARACTERS)):
            if len(text) > most:
                raise InvalidRequestError(f"{name}: is longer than {most} characters")
        taken = await self._stored.take_authorization(_digest(state), caller.key.id)
        if taken is None:
            raise NotFoundError("this was started by somebody else, is finished, or took longer than ten minutes")
        await self._admin.may_change(caller, taken.whose)
        answer = AuthorizationAnswer(whose=taken.whose, sealed=taken.sealed, code=code, issuer=issuer)
        found = await self._gateway.finish_authorization(answer)
        await self._admin.store(
            SealedCredential(**taken.whose.model_dump(), kind=found.kind, sealed=found.sealed, key_id=found.key_id)
        )
        _log.info("authorized", route=taken.route, by=caller.subject, renewable=found.renewable)
        return Finished(taken.whose, taken.route, found)


def _whose(user_id: str | None, name: str) -> CredentialKey:
    scope = Scope.DEPLOYMENT if user_id is None else Scope.USER
    return CredentialKey(scope=scope, owner=user_id or "", name=name)


def _key(credential: CredentialKey) -> tuple[Scope, str, str]:
    return credential.scope, credential.owner, credential.name


def _is_for(route: Route, user_id: str | None) -> bool:
    return user_id is None or route.users is None or user_id in route.users


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode(errors="surrogatepass")).hexdigest()
