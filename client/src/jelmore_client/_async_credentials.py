"""Credentials and authorizations, asynchronously. `_sync_credentials.py` is generated from this file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jelmore_client.core.requests import Request, given, path_of
from jelmore_client.operator_models import Authorization, AuthorizationStart, AuthorizedRoute, Credential

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore


class AsyncCredentials:
    """What the gateway and the server use for sessions without showing it to them. Values cannot be read.

    Without `user_id` and `session_id` a credential is of the deployment. Of several with one name the narrowest is
    used.
    """

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def list(self) -> "list[Credential]":
        """Return the names of the credentials that are set: all of them for an admin, for others their own."""
        return await self._client.fetch_all(Request("GET", path_of("credentials")), Credential)

    async def put(
        self,
        name: str,
        value: str | None = None,
        *,
        oauth: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Set a credential to a value, or to an OAuth client that gets tokens. May be called twice.

        Raises ForbiddenError for a credential that this key may not set.
        """
        owner = given(user_id=user_id, session_id=session_id)
        body = given(value=value, oauth=None if oauth is None else dict(oauth))
        await self._client.request(Request("PUT", path_of("credentials", name), params=owner, json=body))

    async def delete(self, name: str, *, user_id: str | None = None, session_id: str | None = None) -> None:
        """Remove a credential. Raises NotFoundError, also when it is called again."""
        owner = given(user_id=user_id, session_id=session_id)
        await self._client.request(Request("DELETE", path_of("credentials", name), params=owner, repeatable=False))


class AsyncAuthorizations:
    """Routes to servers that a person lets the gateway use in their name, by OAuth."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def list(self) -> "list[Authorization]":
        """Return the routes that this key can authorize, and what became of each credential."""
        return await self._client.fetch_all(Request("GET", path_of("authorizations")), Authorization)

    async def begin(self, route: str, *, user_id: str | None = None) -> AuthorizationStart:
        """Return the URL at which a person agrees, in a browser. Each call begins again.

        `user_id` is whose it is; an admin's without one is of the deployment. Raises InvalidRequestError for a route
        that takes no authorization.
        """
        request = Request("POST", path_of("authorizations"), params=given(user_id=user_id), json={"route": route})
        return await self._client.fetch(request, AuthorizationStart)

    async def finish(self, address: str) -> AuthorizedRoute:
        """Take the code from the address that the browser came back to. Only who began can do this, and once."""
        request = Request("POST", path_of("authorizations", "finish"), json={"address": address}, repeatable=False)
        return await self._client.fetch(request, AuthorizedRoute)
