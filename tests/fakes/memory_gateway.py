"""`GatewayStore` in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import CallEvent, ModelUsage, RouteCall, StoredCredential
from jelmore.ports.gateway_store import TakenAuthorization
from jelmore.session.events import EventDraft
from jelmore.session.plain_text import without_unstorable
from jelmore_protocol.gateway import CallPage, CallRecord, CredentialKey, Route, SealedCredential
from tests.fakes.memory_store import MemoryStore


@dataclass
class MemoryGateway:
    """Calls, routes and credentials. Calls are kept for the sessions of `store`."""

    store: MemoryStore
    kept: dict[tuple[str, int], CallRecord] = field(default_factory=dict)
    cursors: dict[UUID, int] = field(default_factory=dict)
    known_routes: dict[str, Route] = field(default_factory=dict)
    known_credentials: dict[tuple[str, str, str], StoredCredential] = field(default_factory=dict)
    started: dict[str, tuple[str, TakenAuthorization]] = field(default_factory=dict)
    changes: int = 0

    async def cursor(self, gateway: UUID) -> int:
        return self.cursors.get(gateway, 0)

    async def add_calls(self, page: CallPage, events: Sequence[CallEvent] = ()) -> None:
        drafts = {event.call_seq: event for event in events}
        for call in page.calls:
            if UUID(call.session_id) in self.store.sessions:
                if (page.gateway, call.seq) not in self.kept and (event := drafts.get(call.seq)) is not None:
                    self._notify(UUID(call.session_id), event)
                self.kept.setdefault((page.gateway, call.seq), call)
        if page.calls:
            gateway = UUID(page.gateway)
            self.cursors[gateway] = max(self.cursors.get(gateway, 0), *(call.seq for call in page.calls))

    def _notify(self, session_id: UUID, event: CallEvent) -> None:
        session = self.store.sessions[session_id]
        self.store.sessions[session_id] = session = replace(session, event_seq=session.event_seq + 1)
        self.store._notify(
            session_id, session.event_seq, EventDraft(event.type, without_unstorable(event.payload)), session.version
        )

    async def usage(self, session_id: UUID) -> Sequence[ModelUsage]:
        calls = [call for call in self.kept.values() if call.session_id == str(session_id) and call.route == "model"]
        return [
            ModelUsage(
                model,
                len(of),
                sum(call.input_tokens for call in of),
                sum(call.output_tokens for call in of),
                sum(call.cache_read_tokens for call in of),
                sum(call.cache_write_tokens for call in of),
            )
            for model in sorted({call.model for call in calls})
            if (of := [call for call in calls if call.model == model])
        ]

    async def calls(self, session_id: UUID, limit: int) -> Sequence[RouteCall]:
        calls = [call for call in self.kept.values() if call.session_id == str(session_id) and call.route != "model"]
        calls.sort(key=lambda call: (call.at, call.seq), reverse=True)
        return [
            RouteCall(call.at, call.route, call.status, call.method, call.tool, call.complete) for call in calls[:limit]
        ]

    async def revision(self) -> int:
        return self.changes

    async def routes(self) -> Sequence[Route]:
        return [self.known_routes[name] for name in sorted(self.known_routes)]

    async def put_route(self, route: Route) -> None:
        self.changes += 1
        self.known_routes[route.name] = route

    async def drop_route(self, name: str) -> bool:
        self.changes += 1
        return self.known_routes.pop(name, None) is not None

    async def credentials(self) -> Sequence[StoredCredential]:
        return [self.known_credentials[key] for key in sorted(self.known_credentials)]

    async def put_credential(self, credential: SealedCredential) -> None:
        self.changes += 1
        self.known_credentials[_key(credential)] = StoredCredential(credential, datetime.now(UTC))

    async def seal_again(self, before: SealedCredential, after: SealedCredential) -> None:
        known = self.known_credentials.get(_key(before))
        if known is not None and known.credential.sealed == before.sealed:
            self.changes += 1
            self.known_credentials[_key(before)] = StoredCredential(after, known.changed_at)

    async def drop_credential(self, whose: CredentialKey) -> bool:
        self.changes += 1
        return self.known_credentials.pop(_key(whose), None) is not None

    async def keep_authorization(
        self, state: str, started_by: str, whose: CredentialKey, route: str, sealed: str, *, for_s: float, most: int
    ) -> bool:
        if sum(by == started_by for by, _ in self.started.values()) >= most or for_s <= 0:
            return False
        self.started[state] = started_by, TakenAuthorization(whose, route, sealed)
        return True

    async def fill_authorization(self, place: str, state: str, sealed: str) -> bool:
        kept = self.started.pop(place, None)
        if kept is not None:
            self.started[state] = kept[0], replace(kept[1], sealed=sealed)
        return kept is not None

    async def take_authorization(self, state: str, started_by: str) -> TakenAuthorization | None:
        by, taken = self.started.get(state, ("", None))
        return self.started.pop(state)[1] if taken is not None and by == started_by else None


def _key(whose: CredentialKey) -> tuple[str, str, str]:
    return whose.scope.value, whose.owner, whose.name
