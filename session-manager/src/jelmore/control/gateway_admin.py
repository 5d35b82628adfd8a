"""Routes and credentials of the gateway, as the API changes them, and what a session's calls used."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.requests import Caller
from jelmore.ports import Gateway, GatewayStore, ModelUsage, Role, RouteCall, Store, StoredCredential
from jelmore.session.errors import (
    DependencyError,
    InvalidRequestError,
    JelmoreError,
    NotFoundError,
    UnknownSessionError,
)
from jelmore_protocol.gateway import (
    MAX_CREDENTIAL_BYTES,
    MODEL_CREDENTIALS,
    CredentialKey,
    CredentialKind,
    CredentialState,
    Route,
    Scope,
    SealedCredential,
    SealRequest,
    ServerState,
)
from jelmore_protocol.model_check import ModelCheck
from jelmore_protocol.oauth import OAuthClient

_log = structlog.get_logger(__name__)

_HEADER_VALUE: Final = re.compile(r"[!-~]{1,4096}")
MAX_ROUTES = 500
MAX_CREDENTIALS = 10_000
MAX_OF_ONE = 100
"""Credentials of one user or session, so that one person cannot use up everybody's."""


class GatewayAdmin:
    """What callers may see and change of the gateway."""

    def __init__(self, gateway: Gateway, stored: GatewayStore, store: Store, keeper: GatewayKeeper) -> None:
        self._gateway = gateway
        self._stored = stored
        self._store = store
        self._keeper = keeper

    # --- routes

    async def routes(self, caller: Caller) -> Sequence[Route]:
        """Return every route. Raises ForbiddenError."""
        caller.check_admin()
        return await self._keeper.routes()

    async def server_states(self, caller: Caller) -> Mapping[str, ServerState]:
        """Return what is known of each route's server, by route. Raises ForbiddenError.

        Of an MCP server, what it answered last; a new one is missing at first. Of any route, that there is no access
        token for it with the credential of the deployment.
        """
        caller.check_admin()
        failed = {
            each.name: each for each in self._keeper.credentials if each.scope is Scope.DEPLOYMENT and not each.ok
        }
        without_token = {
            route.name: ServerState(name=route.name, ok=False, problem=found.problem, at=found.at)
            for route in await self._stored.routes()
            if (found := failed.get(route.credential)) is not None and found.at is not None
        }
        return {**{each.name: each for each in self._keeper.servers}, **without_token}

    async def put_route(self, caller: Caller, route: Route) -> None:
        """Register a route in place of any earlier one of its name. Raises ForbiddenError, InvalidRequestError."""
        caller.check_admin()
        known = {each.name for each in await self._stored.routes()}
        if route.name not in known and len(known) >= MAX_ROUTES:
            raise InvalidRequestError(f"name: there are {MAX_ROUTES} routes already; remove one first")
        await self._stored.put_route(route)
        self._keeper.changed()

    async def drop_route(self, caller: Caller, name: str) -> None:
        """Remove a route. Raises ForbiddenError, NotFoundError."""
        caller.check_admin()
        if not await self._stored.drop_route(name):
            raise NotFoundError(f"there is no route {name}")
        self._keeper.changed()

    # --- credentials

    async def credentials(self, caller: Caller) -> Sequence[StoredCredential]:
        """Return which credentials are set; nobody can read their values. A person who signed in sees their own.

        Raises ForbiddenError.
        """
        found = await self._stored.credentials()
        if caller.key.role is not Role.ADMIN and caller.key.user_id is not None:
            mine = (Scope.USER, caller.key.user_id)
            return [each for each in found if (each.credential.scope, each.credential.owner) == mine]
        caller.check_admin()
        return found

    def credential_state(self, credential: SealedCredential) -> CredentialState | None:
        """Return how the last request for a token of a credential went, None when it never was used, or is a value."""
        key = (credential.scope, credential.owner, credential.name)
        found = (each for each in self._keeper.credentials if (each.scope, each.owner, each.name) == key)
        return next(found, None) if credential.kind == "oauth" else None

    async def put_credential(self, caller: Caller, whose: CredentialKey, given: str | OAuthClient) -> None:
        """Encrypt and store a credential. Others than admins may set those of sessions that they may write to.

        A person who signed in may set those of their own user.

        Raises ForbiddenError, also for a token URL in a private network from somebody who is no admin,
        UnknownSessionError, DependencyError while the gateway is away.
        """
        await self.may_change(caller, whose)
        if isinstance(given, OAuthClient) and given.private:
            caller.check_admin()
        await self.check_room(whose)
        _check_model_credential(whose.name, given)
        kind: CredentialKind = "oauth" if isinstance(given, OAuthClient) else "value"
        value = given.model_dump_json() if isinstance(given, OAuthClient) else given
        if len(value.encode()) > MAX_CREDENTIAL_BYTES:
            raise InvalidRequestError(f"oauth: is at most {MAX_CREDENTIAL_BYTES} bytes as a whole")
        if kind == "oauth" and not (await self._gateway.health()).oauth:
            raise DependencyError("gateway", "is of an earlier version, which knows no OAuth")
        sealed = await self._gateway.seal(SealRequest(**whose.model_dump(), kind=kind, value=value))
        await self.store(SealedCredential(**whose.model_dump(), kind=kind, **sealed.model_dump()))

    async def store(self, credential: SealedCredential) -> None:
        """Store an encrypted credential and send it to the gateway. The caller has checked who asks."""
        await self._stored.put_credential(credential)
        self._keeper.changed()

    async def check_room(self, whose: CredentialKey) -> None:
        """Raise InvalidRequestError when there are too many credentials for a new one of this owner."""
        known = {(each.credential.scope, each.credential.owner, each.credential.name) for each in await self._all()}
        if (whose.scope, whose.owner, whose.name) in known:
            return
        of_one = sum((scope, owner) == (whose.scope, whose.owner) for scope, owner, _ in known)
        if whose.scope is not Scope.DEPLOYMENT and of_one >= MAX_OF_ONE:
            raise InvalidRequestError(f"name: {MAX_OF_ONE} credentials are set here already; remove one first")
        if len(known) >= MAX_CREDENTIALS:
            raise InvalidRequestError(f"name: there are {MAX_CREDENTIALS} credentials already; remove one first")

    async def drop_credential(self, caller: Caller, whose: CredentialKey) -> None:
        """Remove a credential. Raises ForbiddenError, UnknownSessionError, NotFoundError."""
        await self.may_change(caller, whose)
        of = (whose.scope, whose.owner, whose.name)
        every = (each.credential for each in await self._all())
        found = next((each for each in every if (each.scope, each.owner, each.name) == of), None)
        if found is not None and found.kind == "oauth":
            await self._revoke(found)
        if not await self._stored.drop_credential(whose):
            raise NotFoundError(f"there is no credential {whose.name} of this owner")
        self._keeper.changed()

    async def _revoke(self, credential: SealedCredential) -> None:
        """Revoke its refresh token where it came from. It is removed here whatever that server says."""
        try:
            ended = await self._gateway.end_authorization(credential)
            problem = ended.problem
        except JelmoreError as error:
            problem = str(error)
        if problem:
            _log.warning("refresh_token_not_revoked", credential=credential.name, problem=problem)

    async def _all(self) -> Sequence[StoredCredential]:
        return await self._stored.credentials()

    async def may_change(self, caller: Caller, whose: CredentialKey) -> None:
        """Raise ForbiddenError or UnknownSessionError unless the caller may set or remove a credential."""
        if whose.scope is Scope.USER and caller.key.user_id == whose.owner:
            caller.check_may_write()
            return
        if whose.scope is not Scope.SESSION:
            caller.check_admin()
            return
        caller.check_may_write()
        try:
            session_id = UUID(whose.owner)
        except ValueError:
            raise UnknownSessionError(whose.owner) from None
        caller.sees(await self._store.load(session_id))

    # --- the model

    async def check_model(self, caller: Caller) -> ModelCheck:
        """Return whether the model API accepts the deployment's credential now. Raises ForbiddenError, DependencyError.

        RefusedError from a gateway of an earlier version, which cannot ask.
        """
        caller.check_admin()
        return await self._gateway.check_model()

    # --- what a session used

    async def usage(self, session_id: UUID) -> Sequence[ModelUsage]:
        """Return what a session's calls of the model used, by model. The caller has checked who asks."""
        return await self._stored.usage(session_id)

    async def calls(self, session_id: UUID, limit: int) -> Sequence[RouteCall]:
        """Return a session's newest calls on routes. The caller has checked who asks."""
        return await self._stored.calls(session_id, limit)


def _check_model_credential(name: str, given: str | OAuthClient) -> None:
    """Raise InvalidRequestError for a credential of the model that no header can carry."""
    if name not in MODEL_CREDENTIALS:
        return
    if isinstance(given, OAuthClient):
        raise InvalidRequestError(f"oauth: {name} is a value")
    if not _HEADER_VALUE.fullmatch(given):
        raise InvalidRequestError("value: is one word of plain ASCII, as the provider shows it")
