"""Gives a dormant runner its session: collects what it needs at once, and registers its sandbox with the gateway."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from jelmore.control.access import Access
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.meanwhile import meanwhile
from jelmore.control.relay import Relays
from jelmore.control.runner_init import SETUP_WITHIN_S, RunnerKeys, init_of
from jelmore.ports import ControlAddress, Runners
from jelmore.session.errors import JelmoreError
from jelmore.session.record import Session
from jelmore.session.world import AgentAhead, Runner
from jelmore_protocol import negotiated
from jelmore_protocol.control import Health, Init, OutputLimits
from jelmore_protocol.transcripts import StoredTranscript

READY_S: Final = 0.2
"""How long the runner may take to answer an init, to say that an agent which was connected ahead is ready."""


class RunnerStart:
    """Initializes runners."""

    def __init__(
        self,
        runners: Runners,
        relays: Relays,
        access: Access,
        gateway: GatewayKeeper,
        *,
        output_limits: OutputLimits | None = None,
        workspace_files: int = 0,
        setup_within_s: float = SETUP_WITHIN_S,
        pause_at: Callable[[Session], Awaitable[float | None]] | None = None,
        transcript_of: Callable[[UUID], Awaitable[StoredTranscript | None]] | None = None,
    ) -> None:
        self._runners = runners
        self._relays = relays
        self._access = access
        self._gateway = gateway
        self._output_limits = output_limits
        self._workspace_files = workspace_files
        self._setup_within_s = setup_within_s
        self._pause_at = pause_at
        self._transcript_of = transcript_of
        self._prepared: dict[UUID, _Preparation] = {}

    @asynccontextmanager
    async def preparing(self, session: Session) -> AsyncIterator[None]:
        """Collect what an init of this session needs, beside the block; what is not used is dropped at its end.

        Changes nothing that an init would not change first: a session in a member of the warm pool is registered with
        the gateway, which has held the member until now. May run any number of times, once at a time for a session.
        """
        async with (
            meanwhile(f"init-parts-{session.id}", self._parts(session)) as parts,
            meanwhile(f"init-gateway-{session.id}", self._let_in(session)) as let_in,
            meanwhile(f"init-lease-{session.id}", self._relays.reserve(session)) as reserved,
        ):
            self._prepared[session.id] = _Preparation(parts, let_in, reserved)
            try:
                yield
            finally:
                del self._prepared[session.id]

    async def init(self, session: Session, at: ControlAddress, runner: Runner) -> Health | None:
        """Initialize the runner; return what it answers, None while the copy of its transcript is still being stored.

        May run twice. Raises RefusedError, ConflictError or ProtocolError when it can never be initialized, and
        DependencyError.
        """
        prepared = self._prepared.get(session.id)
        if prepared is None:
            async with self.preparing(session):
                return await self.init(session, at, runner)
        init = self._init(session, at, runner, await prepared.parts)
        if init is None:
            return None
        await prepared.let_in  # first: the agent may call the model at once
        ahead = session.starts_in_member and runner.agent_ahead is AgentAhead.CONNECTED
        health = await self._runners.init(at, init, ready_within_s=READY_S if ahead else 0)
        with suppress(JelmoreError):  # the runner has its session; `attach` asks for the lease itself
            await prepared.reserved
        return health

    async def _let_in(self, session: Session) -> None:
        if session.starts_in_member:
            await self._gateway.register(session)

    async def _parts(self, session: Session) -> "_Parts":
        async with (
            meanwhile(f"init-budget-{session.id}", self._budget(session)) as budget,
            meanwhile(f"init-transcript-{session.id}", self._transcript(session)) as transcript,
        ):
            return _Parts(await self._gateway.mcp_servers(session), await budget, await transcript)

    async def _budget(self, session: Session) -> float | None:
        return await self._pause_at(session) if self._pause_at else None

    async def _transcript(self, session: Session) -> StoredTranscript | None:
        return await self._transcript_of(session.id) if self._transcript_of else None

    def _init(self, session: Session, at: ControlAddress, runner: Runner, parts: "_Parts") -> Init | None:
        protocol = negotiated(runner.protocol, runner.oldest_protocol)
        strict = runner.oldest_protocol is None  # such a runner is older than tolerant readers
        must = bool(session.spec.forked_from.get("messages"))  # without it, a fork would begin a fresh conversation
        stored = parts.transcript if must or not strict else None
        if stored is None and must:
            return None
        token = "" if at.text.startswith("unix:") else self._access.gateway_tokens.issue(session)
        keys = RunnerKeys(self._access.signing.public_pem, token)
        asked = replace(session, spec=replace(session.spec, mcp_servers=parts.mcp_servers))
        return init_of(
            asked,
            protocol,
            keys,
            self._output_limits,
            parts.pause_at_usd,
            stored,
            strict=strict,
            workspace_files=self._workspace_files,
            setup_within_s=self._setup_within_s,
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is read for an init."""

    mcp_servers: dict[str, Any]
    pause_at_usd: float | None
    transcript: StoredTranscript | None


@dataclass(frozen=True, slots=True)
class _Preparation:
    """What an init needs, while it is being collected."""

    parts: "asyncio.Task[_Parts]"
    let_in: "asyncio.Task[None]"
    reserved: "asyncio.Task[None]"
