"""The gateway's calls, routes and credentials in PostgreSQL. Credentials are stored as the gateway encrypted them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database
from jelmore.ports.gateway_store import CallEvent, ModelUsage, RouteCall, StoredCredential, TakenAuthorization
from jelmore.session.plain_text import to_json, without_unstorable
from jelmore_protocol.gateway import CallPage, CredentialKey, Route, Scope, SealedCredential

_SQL: Final = sql.queries("gateway")


class PostgresGateway:
    """The `GatewayStore` port."""

    def __init__(self, url: str, *, connections: int = 3, timeout_s: float = 10) -> None:
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def cursor(self, gateway: UUID) -> int:
        """Return the seq up to which a gateway was read, 0 before the first read."""
        row = await self._database.row(_SQL["cursor"], gateway=gateway)
        return 0 if row is None else int(row["seq"])

    async def add_calls(self, page: CallPage, events: Sequence[CallEvent] = ()) -> None:
        """Store calls once each with their events, and remember how far the gateway was read. May run twice."""
        calls = to_json([without_unstorable(call.model_dump(mode="json")) for call in page.calls])
        drafts = to_json(
            [
                {"seq": each.call_seq, "type": each.type.value, "payload": without_unstorable(each.payload)}
                for each in events
            ]
        )
        await self._database.rows(_SQL["add_calls"], gateway=UUID(page.gateway), calls=calls, drafts=drafts)

    async def usage(self, session_id: UUID) -> Sequence[ModelUsage]:
        """Return what a session's calls of the model used, by model."""
        rows = await self._database.rows(_SQL["usage"], session_id=session_id)
        return [ModelUsage(**dict(row)) for row in rows]

    async def calls(self, session_id: UUID, limit: int) -> Sequence[RouteCall]:
        """Return a session's newest calls on routes, newest first."""
        rows = await self._database.rows(_SQL["calls"], session_id=session_id, limit=limit)
        return [RouteCall(**dict(row)) for row in rows]

    async def revision(self) -> int:
        """Return a number that grows with every change of routes and credentials."""
        row = await self._database.row(_SQL["revision"])
        return 0 if row is None else int(row["revision"])

    async def routes(self) -> Sequence[Route]:
        """Return every route, by name."""
        return [Route.model_validate_json(row["body"]) for row in await self._database.rows(_SQL["routes"])]

    async def put_route(self, route: Route) -> None:
        """Store a route in place of any earlier one of its name."""
        await self._database.rows(_SQL["put_route"], name=route.name, body=route.model_dump_json())

    async def drop_route(self, name: str) -> bool:
        """Remove a route; return whether there was one."""
        return await self._database.row(_SQL["drop_route"], name=name) is not None

    async def credentials(self) -> Sequence[StoredCredential]:
        """Return every credential, encrypted."""
        rows = await self._database.rows(_SQL["credentials"])
        return [
            StoredCredential(
                SealedCredential(
                    scope=Scope(row["scope"]),
                    owner=row["owner"],
                    name=row["name"],
                    kind=row["kind"],
                    sealed=row["sealed"],
                    key_id=row["key_id"],
                ),
                row["changed_at"],
            )
            for row in rows
        ]

    async def put_credential(self, credential: SealedCredential) -> None:
        """Store a credential in place of any earlier one."""
        values = {**_key(credential), "kind": credential.kind, "sealed": credential.sealed, "key_id": credential.key_id}
        await self._database.rows(_SQL["put_credential"], **values)

    async def seal_again(self, before: SealedCredential, after: SealedCredential) -> None:
        """Replace the encrypted form of a credential unless somebody has changed it meanwhile."""
        values = {**_key(before), "before": before.sealed, "sealed": after.sealed, "key_id": after.key_id}
        await self._database.rows(_SQL["seal_again"], **values)

    async def drop_credential(self, whose: CredentialKey) -> bool:
        """Remove a credential; return whether there was one."""
        return await self._database.row(_SQL["drop_credential"], **_key(whose)) is not None

    async def keep_authorization(
        self, state: str, started_by: str, whose: CredentialKey, route: str, sealed: str, *, for_s: float, most: int
    ) -> bool:
        """Store an authorization that has started; see the port."""
        values = {"state": state, "started_by": started_by, **_key(whose), "route": route, "sealed": sealed}
        return bool(await self._database.rows(_SQL["keep_authorization"], **values, for_s=for_s, most=most))

    async def fill_authorization(self, place: str, state: str, sealed: str) -> bool:
        """Give a kept authorization its state; see the port."""
        row = await self._database.row(_SQL["fill_authorization"], place=place, state=state, sealed=sealed)
        return row is not None

    async def take_authorization(self, state: str, started_by: str) -> TakenAuthorization | None:
        """Remove and return an authorization; see the port."""
        row = await self._database.row(_SQL["take_authorization"], state=state, started_by=started_by)
        if row is None:
            return None
        whose = CredentialKey(scope=Scope(row["scope"]), owner=row["owner"], name=row["name"])
        return TakenAuthorization(whose, row["route"], row["sealed"])

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _key(whose: CredentialKey) -> dict[str, str]:
    return {"scope": whose.scope.value, "owner": whose.owner, "name": whose.name}
