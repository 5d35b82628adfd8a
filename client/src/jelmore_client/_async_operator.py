"""Keys, budgets and the calls of an admin, asynchronously. `_sync_operator.py` is generated from this file."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from jelmore_client.core.requests import Request, given, path_of
from jelmore_client.operator_models import (
    ApiKey,
    AuditEntry,
    Budget,
    CleanupReport,
    DrainState,
    LiveSettings,
    ModelCheck,
    NewApiKey,
    Route,
)

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore

type BudgetScope = Literal["key", "user"]
type BudgetPeriod = Literal["day", "total"]
type RouteKind = Literal["mcp", "git", "pkg"]

_AUDIT_PAGE: Final = 1000
_CLEANUP_TIMEOUT_S: Final = 300.0


class AsyncKeys:
    """The API keys; needs an admin key. The text of a key is shown once, when it is made."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def list(self) -> "list[ApiKey]":
        """Return the keys that are not revoked, oldest first."""
        return await self._client.fetch_all(Request("GET", path_of("admin", "keys")), ApiKey)

    async def create(
        self,
        name: str,
        *,
        role: Literal["admin", "client", "readonly"] = "client",
        user_id: str | None = None,
        act_as: bool = False,
        expires_in_s: int | None = None,
    ) -> NewApiKey:
        """Make a key, of a user or, with `act_as`, for every user that it names. Not repeated."""
        body = given(name=name, role=role, user_id=user_id, expires_in_s=expires_in_s, act_as=act_as)
        return await self._client.fetch(
            Request("POST", path_of("admin", "keys"), json=body, repeatable=False), NewApiKey
        )

    async def change(self, key_id: str, *, act_as: bool) -> ApiKey:
        """Let a client key act for every user, or no more. Sessions keep what they were created with."""
        return await self._client.fetch(
            Request("PATCH", path_of("admin", "keys", key_id), json={"act_as": act_as}), ApiKey
        )

    async def rotate(self, key_id: str, *, former_for_s: int | None = None) -> NewApiKey:
        """Replace the text of a key; the former one works for so many seconds. Not repeated."""
        body = given(former_for_s=former_for_s)
        request = Request("POST", path_of("admin", "keys", key_id, "rotate"), json=body, repeatable=False)
        return await self._client.fetch(request, NewApiKey)

    async def revoke(self, key_id: str) -> None:
        """Revoke a key. Its streams and tokens end within a second, its sessions continue. Raises NotFoundError."""
        await self._client.request(Request("DELETE", path_of("admin", "keys", key_id), repeatable=False))


class AsyncBudgets:
    """What the sessions of a key or a user may cost, in US dollars. That of one session is its `budget_usd`."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def list(self) -> "list[Budget]":
        """Return the budgets: all of them for an admin, for others those of their key."""
        return await self._client.fetch_all(Request("GET", path_of("budgets")), Budget)

    async def set(self, scope: BudgetScope, subject: str, limit_usd: float, *, period: BudgetPeriod = "day") -> Budget:
        """Set a budget; needs an admin key. `subject` is the id of the key or user. May be called twice.

        Sessions that waited for it continue when it is higher than what was spent.
        """
        body = {"scope": scope, "subject": subject, "period": period, "limit_usd": limit_usd}
        return await self._client.fetch(Request("PUT", path_of("budgets"), json=body), Budget)

    async def remove(self, scope: BudgetScope, subject: str, *, period: BudgetPeriod = "day") -> None:
        """Remove a budget; needs an admin key. May be called twice. Sessions that waited for it continue."""
        params = {"scope": scope, "subject": subject, "period": period}
        await self._client.request(Request("DELETE", path_of("budgets"), params=params))


class AsyncAdmin:
    """The calls of whoever runs the server; each needs an admin key."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def audit(
        self,
        *,
        after: int = 0,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
    ) -> AsyncGenerator[AuditEntry]:
        """Yield who did what, from where, oldest first, and end at the newest. `after` is the id of an entry."""
        filters = given(actor=actor, action=action, since=None if since is None else since.isoformat())
        while True:
            params = {**filters, "after": after, "limit": _AUDIT_PAGE}
            page = await self._client.fetch_all(Request("GET", path_of("admin", "audit"), params=params), AuditEntry)
            for entry in page:
                yield entry
            if len(page) < _AUDIT_PAGE:
                return
            after = page[-1].id

    async def drain(self, *, wait_s: float = 0.0) -> DrainState:
        """Accept no new sessions and prompts on any manager, and wait for running turns. May be called twice.

        It lasts until `undo_drain`, also over restarts.
        """
        request = Request("POST", path_of("admin", "drain"), params={"wait": wait_s}, timeout_s=wait_s + 60.0)
        return await self._client.fetch(request, DrainState)

    async def drain_state(self) -> DrainState:
        """Return whether the installation drains, and which turns still run."""
        return await self._client.fetch(Request("GET", path_of("admin", "drain")), DrainState)

    async def undo_drain(self) -> DrainState:
        """Accept sessions and prompts again. May be called twice."""
        return await self._client.fetch(Request("DELETE", path_of("admin", "drain")), DrainState)

    async def settings(self) -> LiveSettings:
        """Return the settings that can be changed while managers run, with what they are configured as."""
        return await self._client.fetch(Request("GET", path_of("admin", "settings")), LiveSettings)

    async def change_settings(
        self,
        *,
        max_sessions: int | None = None,
        log_level: Literal["debug", "info", "warning", "error"] | None = None,
    ) -> LiveSettings:
        """Change settings on every manager, within a second; None leaves one as it is. May be called twice."""
        body = given(max_sessions=max_sessions, log_level=log_level)
        return await self._client.fetch(Request("PATCH", path_of("admin", "settings"), json=body), LiveSettings)

    async def check_model(self) -> ModelCheck:
        """Ask the model API for its models with the deployment's credential; costs nothing, takes up to 8 seconds."""
        return await self._client.fetch(Request("GET", path_of("admin", "model")), ModelCheck)

    async def routes(self) -> list[Route]:
        """Return the routes of the gateway, and whether MCP servers answer."""
        return await self._client.fetch_all(Request("GET", path_of("admin", "routes")), Route)

    async def put_route(self, kind: RouteKind, name: str, url: str, **fields: Any) -> Route:
        """Register a route, in place of any earlier one of its name. May be called twice.

        `fields` are the other ones of the API, such as `credential`, `header`, `users` and `oauth`.
        """
        path, body = path_of("admin", "routes", kind, name), {"url": url, **fields}
        return await self._client.fetch(Request("PUT", path, json=body), Route)

    async def delete_route(self, kind: RouteKind, name: str) -> None:
        """Remove a route; its next call is refused within seconds. Raises NotFoundError, also when called again."""
        await self._client.request(Request("DELETE", path_of("admin", "routes", kind, name), repeatable=False))

    async def cleanup(self, *, dry_run: bool = True) -> CleanupReport:
        """Return containers, volumes, routes and streams that no session owns; without `dry_run`, remove them."""
        params = {"dry_run": "true" if dry_run else "false"}
        request = Request("POST", path_of("cleanup"), params=params, timeout_s=_CLEANUP_TIMEOUT_S)
        return await self._client.fetch(request, CleanupReport)
