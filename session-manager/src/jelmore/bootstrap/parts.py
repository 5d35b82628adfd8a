"""The control plane of one manager: the services that the API calls, and the loops."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from jelmore import __version__
from jelmore.api.profiles import check_fields
from jelmore.api.services import Services
from jelmore.bootstrap.drivers import Closable, Drivers
from jelmore.bootstrap.event_services import EventServices
from jelmore.bootstrap.file_services import FileServices
from jelmore.bootstrap.gateway_services import GatewayServices
from jelmore.bootstrap.history_services import HistoryServices
from jelmore.bootstrap.loops import Loop, leader_loop, states
from jelmore.bootstrap.operator_services import OperatorServices
from jelmore.bootstrap.pool_services import PoolServices, has_pool
from jelmore.bootstrap.sign_in_services import SignInServices
from jelmore.bootstrap.usage_services import UsageServices
from jelmore.control.access import Access
from jelmore.control.attendance import AttendanceKeeper
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.disk_watch import DiskWatch
from jelmore.control.egress_approvals import EgressApprovals
from jelmore.control.forks import Forks
from jelmore.control.health import Health
from jelmore.control.leadership import LeaderTask
from jelmore.control.mcp_calls import McpCalls
from jelmore.control.outbox import OutboxRelay
from jelmore.control.own_clients import OwnClients
from jelmore.control.prober import Prober
from jelmore.control.profiles import Profiles
from jelmore.control.publisher import Publisher
from jelmore.control.queue import WorkQueue
from jelmore.control.queue_calls import QueueCalls
from jelmore.control.rates import SharedRates
from jelmore.control.reconciler import Reconciler
from jelmore.control.relay import Relays
from jelmore.control.resources import ResourceKeeper
from jelmore.control.revocations import Revocations
from jelmore.control.rewinds import Rewinds
from jelmore.control.runner_start import RunnerStart
from jelmore.control.sandbox_ports import SandboxPorts
from jelmore.control.session_spec import Defaults
from jelmore.control.sessions import RunnerCalls, make_session_calls
from jelmore.control.streams import Streams
from jelmore.control.sweeper import Retention, Sweeper
from jelmore.control.tasks import Tasks
from jelmore.control.terminals import Terminals
from jelmore.control.transcripts import TranscriptKeeper
from jelmore.control.uploads import Uploads
from jelmore.control.watchers import Watchers
from jelmore.drivers.toml_profiles import TomlProfiles
from jelmore.session.record import Session
from jelmore.settings import Settings
from jelmore_protocol.control import OutputLimits

_log = structlog.get_logger(__name__)

_EDGE_EVERY_S: Final = 5.0


class Group(Closable, Protocol):
    """Parts that are wired in a module of their own."""

    @property
    def loops(self) -> Sequence[Loop]:
        """Their loops."""


class Parts:
    """Every part of one manager above the drivers. `loops` lists all loops; `services` is what the API calls."""

    def __init__(self, settings: Settings, drivers: Drivers, tasks: Tasks) -> None:
        self._settings = settings
        self._drivers = drivers
        self._tasks = tasks
        self._ports = drivers.ports()
        self._add_shared()
        self._add_sessions()
        self._add_reconciler()
        self._add_upkeep()
        self.event_services = EventServices(settings, drivers.store, self.access, drivers.leases, tasks, self.queries)
        self.own_clients = OwnClients(self.attendance, drivers.store, self.event_services.people_store)
        self.history_services = HistoryServices(settings, drivers, self._ports, self.cache, self.commands)
        self.operator_services = OperatorServices(settings, drivers.store, self.access, self.defaults)
        self.sign_in_services = SignInServices(settings)
        self.file_services = FileServices(settings, drivers, self._ports, self.queries, self.disk, tasks)
        self.groups: Sequence[Group] = (
            self.event_services,
            self.history_services,
            self.gateway_services,
            self.operator_services,
            self.usage_services,
            self.file_services,
            self.pool_services,
            self.sign_in_services,
        )
        self.loops: Sequence[Loop] = (*self._own_loops(), *(loop for group in self.groups for loop in group.loops))

    def _add_shared(self) -> None:
        """Add what other parts use: the queue, caches, live output, and access."""
        settings, drivers, store = self._settings, self._drivers, self._drivers.store
        self.queue = WorkQueue(self._reconcile, self._tasks)
        redis = CircuitBreaker("redis", drivers.live.answers, self._tasks)
        self.rates = SharedRates(drivers.rates, redis)
        self.cache = RecordCache(store, drivers.records, redis)
        self.watchers = Watchers(store, self.cache)
        self.streams = Streams(store, drivers.live, redis)
        self.attendance = AttendanceKeeper(
            drivers.attendance, drivers.live, redis, self.streams.feed_attendance, drivers.holder
        )
        self.publisher = Publisher(store, drivers.live, self.cache, self.watchers, self.streams, redis, self._tasks)
        self.disk = DiskCapacity(settings.min_free_disk_bytes, drivers.disk, drivers.sandboxes)
        self.access = Access(store, token_ttl_s=settings.token_ttl_s)
        self.gateway_services = GatewayServices(drivers, self.access, settings)
        self.profiles = Profiles(TomlProfiles(settings.profiles), check_fields, self._ports.clock)
        checks = {**drivers.checks(), "pool": self._check_pool}
        self.health = Health(checks, self.states, self.disk, version=__version__)

    def _add_sessions(self) -> None:
        """Add the calls on sessions, and what bounds them: the defaults, the warm pool, and budgets."""
        settings, drivers = self._settings, self._drivers
        self.defaults = _defaults(settings, self.profiles)
        keeper = self.gateway_services.keeper
        self.pool_services = PoolServices(
            settings, drivers, self._ports, keeper, self.defaults, self.profiles, self.disk
        )
        self.approvals = EgressApprovals(drivers.gateway, self._ports, self.queue, self.watchers)
        self.runner_calls = RunnerCalls(self._ports, self.queue, self.watchers, self.defaults)
        self.queries, self.commands = make_session_calls(
            self._ports,
            self.queue,
            self.watchers,
            self.access,
            self.streams,
            self.cache,
            self.defaults,
            runner_calls=self.runner_calls,
            approvals=self.approvals,
            disk=self.disk,
            revoke=keeper.revoke,
            pool=self.pool_services.pool,
        )
        self.usage_services = UsageServices(settings, drivers, self._ports, self.queue, self.watchers, self.defaults)

    def _add_reconciler(self) -> None:
        """Add what runs sessions: the relays, and the reconciler with its prober."""
        settings, drivers = self._settings, self._drivers
        budgets, keeper = self.usage_services.budgets, self.gateway_services.keeper
        self.transcripts = TranscriptKeeper(
            drivers.transcripts, drivers.transcript_channels, self._tasks, most_bytes=settings.transcript_bytes
        )
        self.relays = Relays(
            drivers.store,
            drivers.runners,
            self.publisher,
            self._tasks,
            drivers.leases,
            enqueue=self.queue.add,
            turn_ended=budgets.changed,
            clients=self._connected,
            transcripts=self.transcripts,
            traces=drivers.traces,
        )
        self.prober = Prober(
            self._ports,
            self.queue.add,
            ResourceKeeper(self._ports, self.watchers),
            grace_s=settings.probe_grace_s,
            tolerated=settings.probes_tolerated,
        )
        runner_start = RunnerStart(
            drivers.runners,
            self.relays,
            self.access,
            keeper,
            output_limits=_output_limits(settings),
            workspace_files=settings.workspace_files,
            setup_within_s=settings.setup_timeout_s,
            pause_at=budgets.pause_at,
            transcript_of=self.transcripts.stored,
        )
        self.reconciler = Reconciler(
            self._ports,
            self.relays,
            self.publisher,
            runner_start,
            settings.policy,
            gateway=keeper,
            concurrent_starts=settings.concurrent_starts,
            stop_grace_s=settings.stop_timeout_s,
            hot_tail_ttl_s=settings.hot_tail_ttl_s,
            probes_failed=self.prober.failed,
        )

    def _add_upkeep(self) -> None:
        """Add what runs beside sessions: the outbox, the sweep, and revocations."""
        settings, drivers = self._settings, self._drivers
        self.outbox = OutboxRelay(drivers.outbox, drivers.events)
        retention = Retention(settings.quarantine_s, settings.workspace_retention_s, settings.record_retention_s)
        self.sweeper = Sweeper(self._ports, self.queue.add, retention, self.pool_services.pool.ids)
        self.revocations = Revocations(
            drivers.store,
            drivers.runners,
            self.access,
            self._ports.control_of,
            self.relays.followed_generations,
            token_ttl_s=settings.token_ttl_s,
        )

    def _connected(self, session: Session, clients: Mapping[str, bool]) -> None:
        self.own_clients.said(session, clients)  # which is made after the relays

    def _own_loops(self) -> Sequence[Loop]:
        settings, leases = self._settings, self._drivers.leases
        watch = DiskWatch(self._drivers.store, self.disk)
        return (
            Loop("reconcile", self.queue.run, lambda: {"depth": self.queue.depth()}),
            Loop("revocations", self.revocations.run),
            Loop("streams", self.streams.run, lambda: {"readers": self.streams.readers()}),
            Loop("attendance", self.attendance.run, self.attendance.report),
            Loop("own-clients", self.own_clients.run, self.own_clients.report),
            Loop("outbox", self.outbox.run, self._outbox_state),
            Loop("edge", self._keep_edge),
            Loop("engine-events", self._follow_engine),
            leader_loop(LeaderTask("probes", self.prober.probe_all, leases, every_s=settings.probe_every_s)),
            leader_loop(LeaderTask("sweep", self._sweep, leases, every_s=settings.sweep_every_s)),
            leader_loop(LeaderTask("disk", watch.check, leases, every_s=settings.probe_every_s)),
            Loop("standstill", self.reconciler.standstill.run),
            Loop("leases", self.relays.keep_leases, lambda: {"following": self.relays.following()}, settled=True),
            Loop("monitor", self._monitor, settled=True),
            Loop("egress-approvals", self.approvals.run, settled=True),
            Loop("profiles", self.profiles.run, self.profiles.report),
        )

    def services(self) -> Services:
        """Return the services that the API calls."""
        events, history = self.event_services, self.history_services
        return Services(
            self.queries,
            self.commands,
            self.streams,
            self.access,
            self.sweeper,
            self.health,
            events.feed,
            events.tickets,
            events.webhooks,
            people=events.people,
            push=events.push,
            operator=self.operator_services.operator,
            audit=self.operator_services.audit,
            eraser=history.eraser,
            budgets=self.usage_services.budgets,
            queue=QueueCalls(self._ports, self.runner_calls, self.queries),
            rates=self.rates,
            profiles=self.profiles,
            gateway=self.gateway_services.admin,
            authorizations=self.gateway_services.authorizations,
            files=self.file_services.files,
            mcp=McpCalls(self._ports, self.runner_calls),
            repositories=self.file_services.repositories,
            pushes=self.file_services.pushes,
            terminals=Terminals(self._ports, self.runner_calls, self._drivers.terminals),
            sandbox_ports=self._sandbox_ports(),
            workspaces=self.file_services.workspaces,
            forks=self._forks(),
            rewinds=Rewinds(self._ports, self._drivers.store, self.runner_calls, self.queries),
            uploads=self._uploads(),
            attendance=self.attendance,
            sign_in=self.sign_in_services.sign_in,
        )

    def _sandbox_ports(self) -> SandboxPorts:
        drivers, workspaces = self._drivers, self.file_services.workspaces
        parts = (self._ports, self.queries, self.runner_calls, workspaces)
        return SandboxPorts(*parts, drivers.port_connections, drivers.port_http)

    def _forks(self) -> Forks:
        drivers, files = self._drivers, self.file_services
        parts = (files.workspaces, files.repositories, self.queries, self.commands, self._ports.clock, self.disk)
        return Forks(drivers.store, drivers.transcripts, *parts)

    def _uploads(self) -> Uploads:
        files = self.file_services
        parts = (files.workspaces, files.repositories, self.commands, self.disk)
        return Uploads(self._drivers.store, *parts, most_bytes=self._settings.upload_bytes)

    def states(self) -> Mapping[str, Any]:
        """Return the state of each loop and of the record cache, for the health report."""
        cache = {"hits": self.cache.hits, "misses": self.cache.misses}
        return {**states(self._tasks, self.loops), "record-cache": cache}

    async def _check_pool(self) -> None:
        await self.pool_services.pool.check()

    def _outbox_state(self) -> Mapping[str, Any]:
        return {"holding": self.outbox.holding, "published": self.outbox.published}

    async def enqueue_unfinished(self) -> None:
        """Add every session that has not ended to the queue."""
        for session_id in await self._drivers.store.unfinished():
            self.queue.add(session_id)

    async def _reconcile(self, session_id: UUID) -> float | None:
        return await self.reconciler.reconcile(session_id)

    async def _keep_edge(self) -> None:
        while True:
            if await self._drivers.edge.program():
                _log.info("caddy_programmed")
            await asyncio.sleep(_EDGE_EVERY_S)

    async def _follow_engine(self) -> None:
        while True:
            async for session_id in self._drivers.sandboxes.changes():
                self.queue.add(session_id)
            await self.enqueue_unfinished()  # the stream broke, so events may be lost
            await asyncio.sleep(1)

    async def _sweep(self) -> None:
        await self.sweeper.sweep(dry_run=False)
        await self._drivers.leases.tidy()

    async def _monitor(self) -> None:
        while True:
            await asyncio.sleep(self._settings.monitor_every_s)
            await self.enqueue_unfinished()


def _defaults(settings: Settings, profiles: Profiles) -> Defaults:
    return Defaults(
        limits=settings.limits,
        ceiling=settings.ceiling,
        timing=settings.timing,
        most_live=settings.max_sessions,
        start_patience_s=settings.start_timeout_s + 5,
        stop_patience_s=settings.stop_timeout_s + 30,
        max_network=settings.max_network,
        package_hosts=bool(settings.package_host_list),
        warm=lambda: has_pool(profiles, settings.pool_size),
        kept_in=settings.runtime != "local",
    )


def _output_limits(settings: Settings) -> OutputLimits | None:
    """Return the limits that differ from the runner's own, None where they do not."""
    chosen = (settings.output_bytes, settings.output_bytes_per_s)
    fields = Settings.model_fields
    if chosen == (fields["output_bytes"].default, fields["output_bytes_per_s"].default):
        return None
    return OutputLimits(total_bytes=chosen[0], bytes_per_s=chosen[1])
