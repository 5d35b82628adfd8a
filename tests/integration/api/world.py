"""The API over the real control plane, on a real socket; only what is outside the process is in memory."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast
from uuid import UUID

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from jelmore.api.app import create_app
from jelmore.api.profiles import check_fields
from jelmore.api.services import ApiConfig, Services
from jelmore.api.serving import server_config
from jelmore.control.access import Access, new_key
from jelmore.control.attendance import AttendanceKeeper
from jelmore.control.authorizations import Authorizations
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.budgets import Budgets
from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.egress_approvals import EgressApprovals
from jelmore.control.erasure import Eraser
from jelmore.control.files import Files
from jelmore.control.forks import Forks
from jelmore.control.gateway_admin import GatewayAdmin
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.health import Health
from jelmore.control.mcp_calls import McpCalls
from jelmore.control.outbox import OutboxRelay
from jelmore.control.ports import Ports
from jelmore.control.profiles import Profiles
from jelmore.control.publisher import Publisher
from jelmore.control.pushes import Pushes
from jelmore.control.queue import WorkQueue
from jelmore.control.queue_calls import QueueCalls
from jelmore.control.rates import SharedRates
from jelmore.control.reconciler import Reconciler
from jelmore.control.relay import Relays
from jelmore.control.repositories import Repositories
from jelmore.control.revocations import Revocations
from jelmore.control.rewinds import Rewinds
from jelmore.control.runner_start import RunnerStart
from jelmore.control.sandbox_ports import SandboxPorts
from jelmore.control.session_spec import Defaults
from jelmore.control.sessions import RunnerCalls, make_session_calls
from jelmore.control.sign_in import SignIn
from jelmore.control.streams import Streams
from jelmore.control.sweeper import Retention, Sweeper
from jelmore.control.tasks import Tasks
from jelmore.control.terminals import Terminals
from jelmore.control.transcripts import TranscriptKeeper
from jelmore.control.uploads import Uploads
from jelmore.control.watchers import Watchers
from jelmore.control.workspaces import Workspaces
from jelmore.drivers.gateway_repositories import GatewayRepositories
from jelmore.drivers.local_disk import LocalDisk
from jelmore.drivers.port_http import AiohttpPortHttp
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.postgres_transcripts import PostgresTranscripts
from jelmore.drivers.system_clock import SystemClock
from jelmore.drivers.toml_profiles import TomlProfiles
from jelmore.drivers.transcript_link import TranscriptLink
from jelmore.ports import Role, SandboxSpec
from jelmore.session.limits import Limits
from jelmore.session.record import Session, Timing
from jelmore.session.steps import Policy
from tests.fakes.edge import FakeEdge
from tests.fakes.gateway import FakeGateway
from tests.fakes.memory_attendance import MemoryAttendance
from tests.fakes.memory_erasure import MemoryErasure
from tests.fakes.memory_events import MemoryEvents
from tests.fakes.memory_gateway import MemoryGateway
from tests.fakes.memory_live_output import MemoryLiveOutput
from tests.fakes.memory_rates import MemoryRates
from tests.fakes.memory_store import MemoryOutbox, MemoryStore
from tests.fakes.memory_transcripts import MemoryTranscripts
from tests.fakes.memory_usage import MemoryUsage
from tests.fakes.runners import FakeRunner, FakeRunners
from tests.fakes.sandbox_ports import LoopbackPorts
from tests.fakes.sandboxes import FakeSandboxes
from tests.fakes.terminals import FakeTerminals
from tests.fakes.workspaces import FolderWorkspaces
from tests.integration.api.event_parts import EventParts
from tests.integration.api.served import Served, Server
from tests.support.waiting import until

PUBLIC_URL = "http://jelmore.test"


@dataclass
class Engine(FakeSandboxes):
    """Containers in which a runner comes up by itself, as with the real image."""

    runners: FakeRunners = field(default_factory=FakeRunners)
    ready_at_once: bool = True

    async def start(self, spec: SandboxSpec) -> None:
        await super().start(spec)
        self.runners.add(self.control(spec.session_id)).ready_at_once = self.ready_at_once

    async def remove(self, sandbox_id: str) -> None:
        session_id = self.session_of(sandbox_id)
        if session_id is not None:
            self.runners.runners.pop(self.control(session_id), None)
        await super().remove(sandbox_id)


class _Store(MemoryStore):
    """Counts slots as the database does."""

    async def slots_used(self) -> int:
        await self.check()
        return self._slots()


class _Records:
    """The cache of records of one process."""

    def __init__(self) -> None:
        self._kept: dict[UUID, Session] = {}

    async def get(self, session_id: UUID) -> Session | None:
        return self._kept.get(session_id)

    async def put(self, session: Session) -> None:
        known = self._kept.get(session.id)
        if known is None or known.version < session.version:
            self._kept[session.id] = session

    async def drop(self, session_id: UUID) -> None:
        self._kept.pop(session_id, None)

    async def close(self) -> None:
        """Nothing to release."""


class _Leases:
    """The leases of the only manager there is."""

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        return frozenset(names)

    async def give(self, names: Sequence[str]) -> None:
        """Nobody waits for them."""

    async def elsewhere(self, name: str) -> bool:
        return False

    async def unfollowed(self) -> Sequence[UUID]:
        return ()

    async def tidy(self) -> None:
        """Nothing to remove."""

    async def close(self) -> None:
        """Nothing to release."""


class World(Served):
    """One manager with its API, and the keys to it."""

    def __init__(
        self,
        config: ApiConfig,
        *,
        most_live: int = 3,
        floor_bytes: int = 0,
        database_url: str | None = None,
        sign_in: SignIn | None = None,
    ) -> None:
        self.tasks = Tasks()
        self.store = cast("_Store", PostgresStore(database_url)) if database_url else _Store()
        self.engine = Engine()
        self.edge = FakeEdge()
        self.live = MemoryLiveOutput()
        self.terminals = FakeTerminals()
        self.port_connections = LoopbackPorts()
        ports = Ports(self.store, self.engine, self.engine.runners, self.edge, self.live, SystemClock())
        self.queue = WorkQueue(self._reconcile, self.tasks)
        redis = CircuitBreaker("redis", self.live.answers, self.tasks)
        self.cache = RecordCache(self.store, _Records(), redis)
        watchers = Watchers(self.store, self.cache)
        self.streams = Streams(self.store, self.live, redis)
        self.attendance = AttendanceKeeper(MemoryAttendance(), self.live, redis, self.streams.feed_attendance, "a")
        publisher = Publisher(self.store, self.live, self.cache, watchers, self.streams, redis, self.tasks)
        self.access = Access(self.store, token_ttl_s=600)
        runners, enqueue = self.engine.runners, self.queue.add
        ceiling = Limits(8 * 2**30, 4, 4096, output_bytes=2**40, output_bytes_per_s=2**30)
        defaults = Defaults(Limits(), ceiling, Timing(), most_live, 5, 5)
        self.usage = MemoryUsage(self.store)
        self.budgets = Budgets(ports, self.usage, self.queue, watchers, defaults)
        ended = self.budgets.changed
        relays = Relays(self.store, runners, publisher, self.tasks, _Leases(), enqueue=enqueue, turn_ended=ended)
        self.gateway, self.gateway_store = FakeGateway(), MemoryGateway(self.store)
        self.gateway_keeper = GatewayKeeper(
            self.gateway, self.store, self.gateway_store, lambda: self.access.signing.public_pem
        )
        runner_start = RunnerStart(
            runners,
            relays,
            self.access,
            self.gateway_keeper,
            pause_at=self.budgets.pause_at,
            transcript_of=lambda session_id: TranscriptKeeper(
                self.transcripts, TranscriptLink(), self.tasks, most_bytes=2**20
            ).stored(session_id),
        )
        self.reconciler = Reconciler(
            ports,
            relays,
            publisher,
            runner_start,
            Policy(),
            gateway=self.gateway_keeper,
            concurrent_starts=4,
            stop_grace_s=1,
            hot_tail_ttl_s=60,
            probes_failed=lambda _: 0,
        )
        followed = relays.followed_generations
        self.revocations = Revocations(self.store, runners, self.access, ports.control_of, followed, token_ttl_s=600)
        disk = DiskCapacity(floor_bytes, LocalDisk(Path(tempfile.gettempdir())), self.engine)
        self.approvals = approvals = EgressApprovals(self.gateway, ports, self.queue, watchers)
        calls = RunnerCalls(ports, self.queue, watchers, defaults)
        queries, commands = make_session_calls(
            ports,
            self.queue,
            watchers,
            self.access,
            self.streams,
            self.cache,
            defaults,
            runner_calls=calls,
            approvals=approvals,
            disk=disk,
            revoke=self.gateway_keeper.revoke,
        )
        sweeper = Sweeper(ports, self.queue.add, Retention(quarantine_s=0, workspace_s=60, record_s=60))
        checks = {"postgres": self.store.check, "caddy": self.edge.check}
        self.health = Health(checks, lambda: {"reconcile": {"running": True}}, disk, version="test")
        self.events = events = EventParts(
            self.store, self.access, _Leases(), self.tasks, database_url, queries, defaults
        )
        self.event_log, self.feed = events.log, events.feed
        self.bus = MemoryEvents()
        outbox = PostgresOutbox(database_url, self.store.wrote) if database_url else MemoryOutbox(self.store)
        self.outbox = OutboxRelay(outbox, self.bus)
        eraser = Eraser(ports, MemoryErasure(self.store), self.bus, self.cache, commands.end_to_erase)
        self.folders = FolderWorkspaces(runners)
        self.workspaces = Workspaces(ports, self.folders, self.folders, self.tasks)
        real = PostgresTranscripts(database_url) if database_url else None
        self.transcripts = cast("MemoryTranscripts", real) if real else MemoryTranscripts(self.store)
        self.gateway_folder = Path(tempfile.mkdtemp(prefix="jg"))  # a test may let a real gateway listen here
        self.repository_source = GatewayRepositories(self.gateway_folder / "gateway" / "control.sock")
        repositories = Repositories(self.repository_source, self.workspaces, self.engine, disk, most_bytes=64 * 2**20)
        fork_parts = (self.workspaces, repositories, queries, commands, ports.clock, disk)
        forks = Forks(self.store, self.transcripts, *fork_parts)
        uploads = Uploads(self.store, self.workspaces, repositories, commands, disk, most_bytes=64 * 2**20)
        self.profiles_file = Path(tempfile.mkdtemp(prefix="jp")) / "profiles.toml"
        self.profiles = Profiles(TomlProfiles(self.profiles_file), check_fields, ports.clock)
        admin = GatewayAdmin(self.gateway, self.gateway_store, self.store, self.gateway_keeper)
        services = Services(
            queries,
            commands,
            self.streams,
            self.access,
            sweeper,
            self.health,
            events.feed,
            events.tickets,
            events.webhooks,
            people=events.people,
            operator=events.operator,
            audit=events.audit,
            eraser=eraser,
            budgets=self.budgets,
            rates=SharedRates(MemoryRates(), redis),
            mcp=McpCalls(ports, calls),
            queue=QueueCalls(ports, calls, queries),
            profiles=self.profiles,
            gateway=admin,
            authorizations=Authorizations(
                self.gateway, self.gateway_store, admin, "http://test/api/v1/authorizations/callback"
            ),
            files=Files(queries, self.workspaces, disk, most_upload_bytes=64 * 2**20),
            repositories=repositories,
            terminals=Terminals(ports, calls, self.terminals),
            sandbox_ports=SandboxPorts(
                ports,
                queries,
                calls,
                self.workspaces,
                self.port_connections,
                AiohttpPortHttp(),
            ),
            pushes=Pushes(self.repository_source, queries, self.workspaces, prefix="jelmore/", most_bytes=64 * 2**20),
            workspaces=self.workspaces,
            forks=forks,
            rewinds=Rewinds(ports, self.store, calls, queries),
            uploads=uploads,
            attendance=self.attendance,
            push=events.push,
            sign_in=sign_in,
        )
        self.app = create_app(services, config)
        self.keys = {role: new_key() for role in Role}
        self.other_key = new_key()
        self._folder = Path(tempfile.mkdtemp(prefix="ja"))
        self.server = Server(server_config(self.app, uds=self.socket_path, lifespan="off"))

    async def _reconcile(self, session_id: UUID) -> float | None:
        return await self.reconciler.reconcile(session_id)

    async def __aenter__(self) -> Self:
        await self.access.open(None)
        for role, key in self.keys.items():
            await self.access.keys.add(key, role.value, role)
        await self.access.keys.add(self.other_key, "another client", Role.CLIENT)
        self.tasks.keep("reconcile", self.queue.run)
        self.tasks.keep("revocations", self.revocations.run)
        self.tasks.keep("streams", self.streams.run)
        self.tasks.keep("attendance", self.attendance.run)
        self.events.start()
        self.tasks.keep("outbox", self.outbox.run)
        self.tasks.keep("budgets", self.budgets.run)
        self.tasks.start("server", self.server.serve())
        await until(lambda: self.server.started)
        self.health.ready.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await until(lambda: "server" not in self.tasks.running())
        await self.tasks.close()
        await self.events.close()
        await self.transcripts.close()
        await self.store.close()
        shutil.rmtree(self._folder)
        shutil.rmtree(self.folders.root)
        shutil.rmtree(self.gateway_folder)

    async def runner(self, session_id: str) -> FakeRunner:
        """Return the runner of a session, whose container may be about to be made."""
        await until(lambda: UUID(session_id) in self.engine.sandboxes)
        at = self.engine.control(UUID(session_id))
        await until(lambda: at in self.engine.runners.runners)
        return self.engine.runners.runners[at]

    async def stored(self, session_id: str, seq: int) -> None:
        """Wait until the relay has stored output up to `seq`."""

        async def is_stored() -> bool:
            return (await self.store.load(UUID(session_id))).output_seq >= seq

        await until(is_stored)


@contextlib.asynccontextmanager
async def world(config: ApiConfig | None = None, **more: Any) -> AsyncIterator[World]:
    """Yield a running world. `more` is passed on."""
    async with World(config or ApiConfig(public_url=PUBLIC_URL), **more) as made:
        yield made


async def frame(connection: ClientConnection) -> dict[str, Any]:
    """Return the next frame."""
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await connection.recv())
    return found


async def closed(connection: ClientConnection) -> int:
    """Return the code with which the other end closes, taking whatever comes before."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            async for _ in connection:
                pass
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code
