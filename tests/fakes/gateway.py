"""`Gateway` in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from jelmore.session.errors import AlreadyAnsweredError, ConflictError, DependencyError, UnknownRequestError
from jelmore_protocol.authorization import (
    AuthorizationAnswer,
    AuthorizationEnd,
    AuthorizationRequest,
    AuthorizationStarted,
    Authorized,
)
from jelmore_protocol.gateway import (
    EGRESS_REQUEST,
    CallPage,
    CallRecord,
    CredentialState,
    EgressDecision,
    GatewayConfig,
    GatewayHealth,
    HeldCause,
    HeldPage,
    HeldRequest,
    LocalServer,
    Registration,
    SandboxEntry,
    Sealed,
    SealedCredential,
    SealRequest,
    ServerState,
)
from jelmore_protocol.model_check import ModelCheck


@dataclass
class FakeGateway:
    """Registrations as a mapping. `away` is the gateway's absence."""

    sandboxes: dict[str, SandboxEntry] = field(default_factory=dict)
    config: GatewayConfig = field(default_factory=lambda: GatewayConfig(digest=""))
    recorded: list[CallRecord] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    name: str = "00000000-0000-0000-0000-00000000000a"
    key_id: str = "key-1"
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    away: bool = False
    holds: bool = True
    oauth: bool = True
    servers: list[ServerState] = field(default_factory=list)
    credentials: list[CredentialState] = field(default_factory=list)
    local_servers: list[LocalServer] = field(default_factory=list)
    holding: dict[str, HeldRequest] = field(default_factory=dict)
    authorized: list[AuthorizationAnswer] = field(default_factory=list)
    started: int = 0
    ended: list[SealedCredential] = field(default_factory=list)
    run: str = "run-1"
    model: ModelCheck = field(
        default_factory=lambda: ModelCheck(
            server="model.example", credential=True, accepted=True, status=200, at=datetime.now(UTC)
        )
    )

    async def check(self) -> None:
        if self.away:
            raise DependencyError("gateway", "the fake gateway is away")

    async def health(self) -> GatewayHealth:
        await self.check()
        return GatewayHealth(
            gateway=self.name,
            started_at=self.started_at,
            config=self.config.digest,
            sandboxes=len(self.sandboxes),
            calls_seq=max((record.seq for record in self.recorded), default=0),
            key_id=self.key_id,
            servers=self.servers,
            credentials=self.credentials,
            oauth=self.oauth,
            local_servers=self.local_servers,
            holds=self.holds,
        )

    async def configure(self, config: GatewayConfig) -> None:
        await self.check()
        self.config = config

    async def registered(self) -> Sequence[SandboxEntry]:
        await self.check()
        return list(self.sandboxes.values())

    async def register(self, key: str, registration: Registration) -> None:
        await self.check()
        known = self.sandboxes.get(key)
        revoked = known is not None and known.revoked
        held = registration.held and (known is None or known.held)
        given = {**registration.model_dump(), "held": held}
        self.sandboxes[key] = SandboxEntry(key=key, revoked=revoked, **given)

    async def withdraw(self, key: str) -> None:
        await self.check()
        self.sandboxes.pop(key, None)

    async def revoke(self, keys: Sequence[str]) -> None:
        await self.check()
        for key in keys:
            if key in self.sandboxes:
                self.revoked.append(key)
                self.sandboxes[key] = self.sandboxes[key].model_copy(update={"revoked": True})

    async def calls(self, after: int) -> CallPage:
        await self.check()
        return CallPage(gateway=self.name, calls=[record for record in self.recorded if record.seq > after])

    def hold(self, session_id: object, *, generation: int = 1, host: str = "own.example", port: int = 443) -> str:
        """Let a connection wait; return the id of its request."""
        request_id = f"{EGRESS_REQUEST}{len(self.holding) + 1}"
        at = datetime.now(UTC)
        self.holding[request_id] = HeldRequest(
            id=request_id,
            session_id=str(session_id),
            generation=generation,
            host=host,
            port=port,
            method="CONNECT",
            at=at,
            expires_at=at + timedelta(minutes=5),
        )
        return request_id

    def end(self, request_id: str, cause: HeldCause) -> None:
        """Let a request wait no longer, without a decision."""
        self.holding[request_id] = self.holding[request_id].model_copy(update={"cause": cause})

    def page(self) -> HeldPage:
        """Return what is held."""
        revision = f"{self.run} {[each.model_dump_json() for each in self.holding.values()]}"
        return HeldPage(run=self.run, revision=revision, requests=list(self.holding.values()))

    async def held(self, revision: str) -> HeldPage:
        await self.check()
        page = self.page()
        if page.revision == revision:
            await asyncio.sleep(0.05)
        return self.page()

    async def decide(self, request_id: str, decision: EgressDecision) -> HeldRequest:
        await self.check()
        known = self.holding.get(request_id)
        if known is None or known.session_id != decision.session_id:
            raise UnknownRequestError("there is no such request")
        if known.cause is not None:
            raise AlreadyAnsweredError("somebody has answered it")
        self.holding[request_id] = known.model_copy(update={"cause": HeldCause.ANSWERED, "decided": decision})
        return self.holding[request_id]

    async def forget(self, request_id: str) -> None:
        await self.check()
        if request_id in self.holding and self.holding[request_id].cause is not None:
            del self.holding[request_id]

    async def seal(self, request: SealRequest) -> Sealed:
        await self.check()
        value = request.value or (request.sealed or "").partition(":")[2]
        return Sealed(sealed=f"{self.key_id}:{value}", key_id=self.key_id)

    async def begin_authorization(self, asked: AuthorizationRequest) -> AuthorizationStarted:
        await self.check()
        self.started += 1
        state = f"state-{self.started}"
        url = f"https://auth.example/authorize?state={state}&redirect_uri={asked.redirect_uri}"
        return AuthorizationStarted(url=url, state=state, issuer="https://auth.example", sealed="started")

    async def finish_authorization(self, answer: AuthorizationAnswer) -> Authorized:
        await self.check()
        if answer.code == "refused":
            raise ConflictError("the token URL answers 400, invalid_grant")
        self.authorized.append(answer)
        return Authorized(kind="oauth", sealed=f"{self.key_id}:tokens", key_id=self.key_id, renewable=True)

    async def end_authorization(self, credential: SealedCredential) -> AuthorizationEnd:
        await self.check()
        self.ended.append(credential)
        return AuthorizationEnd(revoked=True)

    async def check_model(self) -> ModelCheck:
        await self.check()
        return self.model

    async def close(self) -> None:
        """Nothing to release."""
