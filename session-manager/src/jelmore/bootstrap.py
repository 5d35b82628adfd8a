"""Wires the parts: the only place that chooses concrete drivers, once, from the settings."""

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Mapping
from socket import gethostname
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore import __version__
from jelmore.api.app import create_app
from jelmore.api.services import ApiConfig, Services
from jelmore.api.starting import StartGate
from jelmore.control.access import Access, ModelCredential
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.health import Health
from jelmore.control.leadership import LeaderTask
from jelmore.control.outbox import OutboxRelay
from jelmore.control.prober import Prober
from jelmore.control.publisher import Publisher
from jelmore.control.queue import WorkQueue
from jelmore.control.reconciler import Ports, Reconciler
from jelmore.control.relay import Relays
from jelmore.control.resources import ResourceKeeper
from jelmore.control.revocations import Revocations
from jelmore.control.session_spec import Defaults
from jelmore.control.sessions import Sessions
from jelmore.control.streams import Streams
from jelmore.control.sweeper import Retention, Sweeper
from jelmore.control.tasks import SystemClock, Tasks
from jelmore.control.watchers import Watchers
from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.docker_engine import EngineAddress
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.local_sandboxes import LocalSandboxes
from jelmore.drivers.nats_events import NatsEvents
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.postgres_leases import PostgresLeases
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.redis_output import RedisOutput
from jelmore.drivers.redis_records import RedisRecords
from jelmore.drivers.runner_link import RunnerLink
from jelmore.event_services import EventServices
from jelmore.ports import Sandboxes
from jelmore.session.errors import DependencyError, JelmoreError, RefusedError
from jelmore.settings import Settings
from jelmore_protocol.control import OutputLimits

_log = structlog.get_logger(__name__)

_START_PATIENCE_S: Final = 60.0
_EDGE_EVERY_S: Final = 5.0
_GIVE_BACK_S: Final = 2.0


def make_sandboxes(settings: Settings) -> Sandboxes:
    """Return the `Sandboxes` driver that the settings name. Does no I/O."""
    paths = RunPaths(settings.run_dir)
    if settings.runtime == "local":
        return LocalSandboxes(data_dir=settings.data_dir, paths=paths, search_path=os.environ.get("PATH", os.defpath))
    address = EngineAddress(settings.docker_host, settings.docker_cert_path if settings.docker_tls_verify else None)
    return DockerSandboxes(address, image=settings.runner_image, instance=settings.instance, paths=paths)


class Manager:
    """One manager with all its parts, started in order and closed in reverse order."""

    def __init__(self, settings: Settings, slot: int) -> None:
        self.settings = settings
        self.tasks = Tasks()
        self.paths = RunPaths(settings.run_dir)
        self.store = PostgresStore(settings.database_url.get_secret_value())
        self.leases = PostgresLeases(settings.database_url.get_secret_value(), holder=_holder(settings, slot))
        self.records = RedisRecords(settings.redis_url.get_secret_value())
        self.live = RedisOutput(settings.redis_url.get_secret_value(), cap=settings.hot_tail_entries)
        self.events = NatsEvents(
            settings.nats_url.get_secret_value(),
            instance=settings.instance,
            max_age_s=settings.events_max_age_s,
            max_bytes=settings.events_max_bytes,
        )
        self.edge = CaddyEdge(_edge_options(settings, self.paths))
        self.runners = RunnerLink()
        self.sandboxes = make_sandboxes(settings)
        self.ports = Ports(
            store=self.store,
            sandboxes=self.sandboxes,
            runners=self.runners,
            edge=self.edge,
            live=self.live,
            clock=SystemClock(),
        )
        self._wire()

    def _wire(self) -> None:
        settings, ports = self.settings, self.ports
        self.queue = WorkQueue(self._reconcile, self.tasks)
        redis = CircuitBreaker("redis", self.live.answers, self.tasks)
        self.cache = RecordCache(self.store, self.records, redis)
        self.watchers = Watchers(self.store, self.cache)
        self.streams = Streams(self.store, self.live, redis)
        self.publisher = Publisher(self.store, self.live, self.cache, self.watchers, self.streams, redis, self.tasks)
        self.access = Access(self.store, _credential(settings), token_ttl_s=settings.token_ttl_s)
        self.event_services = EventServices(settings, self.store, self.access, self.leases)
        self.relays = Relays(self.store, self.runners, self.publisher, self.tasks, self.leases, enqueue=self.queue.add)
        self.prober = Prober(
            ports,
            self.queue.add,
            ResourceKeeper(ports, self.watchers),
            grace_s=settings.probe_grace_s,
            tolerated=settings.probes_tolerated,
        )
        self.reconciler = Reconciler(
            ports,
            self.relays,
            self.publisher,
            self.access,
            settings.policy,
            concurrent_starts=settings.concurrent_starts,
            output_limits=_output_limits(settings),
            stop_grace_s=settings.stop_timeout_s,
            hot_tail_ttl_s=settings.hot_tail_ttl_s,
            probes_failed=self.prober.failed,
        )
        self.outbox = OutboxRelay(
            PostgresOutbox(settings.database_url.get_secret_value(), self.store.wrote), self.events
        )
        retention = Retention(settings.quarantine_s, settings.workspace_retention_s, settings.record_retention_s)
        self.sweeper = Sweeper(ports, self.queue.add, retention)
        self.revocations = Revocations(
            self.store,
            self.runners,
            self.access,
            ports.control_of,
            self.relays.followed_generations,
            token_ttl_s=settings.token_ttl_s,
        )
        self.led = {
            "probes": LeaderTask("probes", self.prober.probe_all, self.leases, every_s=settings.probe_every_s),
            "sweep": LeaderTask("sweep", self._sweep, self.leases, every_s=settings.sweep_every_s),
            **self.event_services.led,
        }
        defaults = Defaults(
            limits=settings.limits,
            ceiling=settings.ceiling,
            timing=settings.timing,
            most_live=settings.max_sessions,
            start_patience_s=settings.start_timeout_s + 5,
            stop_patience_s=settings.stop_timeout_s + 30,
        )
        room = DiskCapacity(settings.data_dir, settings.min_free_disk_bytes, self.sandboxes)
        self.sessions = Sessions(
            ports, self.queue, self.watchers, self.access, self.streams, self.cache, defaults, room=room
        )
        checks = {
            "postgres": self.store.check,
            "redis": self.live.check,
            "nats": self.events.check,
            "caddy": self.edge.check,
            "sandboxes": self.sandboxes.check,
            "run_directory": self.paths.check,
        }
        self.health = Health(checks, self.loops, room, version=__version__)

    async def _reconcile(self, session_id: UUID) -> float | None:
        return await self.reconciler.reconcile(session_id)

    def services(self) -> Services:
        """Return the services that the API calls."""
        events = self.event_services
        return Services(
            self.sessions, self.streams, self.access, self.sweeper, self.health, events.feed, events.tickets
        )

    def api_config(self) -> ApiConfig:
        """Return the API's configuration."""
        return ApiConfig(
            public_url=self.settings.public_url,
            version=__version__,
            rate_limit_per_minute=self.settings.rate_limit_per_minute,
            cors_origins=self.settings.cors_origin_list,
        )

    async def start(self) -> None:
        """Start all parts; return when every session was reconciled once or a deadline passed.

        Raises RefusedError when it would be wrong to continue, DependencyError when PostgreSQL does not answer.
        """
        self.paths.prepare()
        await self._when_there("postgres", self.store.check)
        first = self.settings.api_key
        await self.access.open(first.get_secret_value() if first else None)
        await self._refuse_an_empty_database()
        if self.settings.runtime == "local":
            _log.warning("no_isolation", why="JELMORE_RUNTIME=local: sessions are plain processes of this user")
        self.tasks.keep("reconcile", self.queue.run)
        self.tasks.keep("revocations", self.revocations.run)
        self.tasks.keep("streams", self.streams.run)
        self.tasks.keep("outbox", self.outbox.run)
        self.event_services.start(self.tasks)
        self.tasks.keep("edge", self._keep_edge)
        self.tasks.keep("engine-events", self._follow_engine)
        for session_id in await self.store.unfinished():
            self.queue.add(session_id)
        await self._settle()
        for name, loop in self.led.items():
            self.tasks.keep(name, loop.run)
        self.tasks.keep("leases", self.relays.keep_leases)
        self.tasks.keep("monitor", self._monitor)
        self.health.reconciled = True
        _log.info("manager_ready", manager=self.settings.manager_id, following=self.relays.following())

    async def close(self) -> None:
        """End every task and connection. Sessions keep running without a manager."""
        self.health.reconciled = False
        try:
            async with asyncio.timeout(_GIVE_BACK_S):
                await self.relays.give_back()
        except (TimeoutError, DependencyError):
            _log.info("leases_not_given_back", why="they run out by themselves")
        await self.tasks.close()
        for part in (
            self.runners,
            self.edge,
            self.events,
            self.live,
            self.records,
            self.sandboxes,
            self.leases,
            self.event_services,
            self.store,
        ):
            try:
                async with asyncio.timeout(5):
                    await part.close()
            except (TimeoutError, DependencyError) as error:
                _log.warning("close_failed", part=type(part).__name__, error=str(error))

    def loops(self) -> Mapping[str, Any]:
        """Return the state of each loop of this manager, for the health report."""
        now = time.monotonic()
        running = set(self.tasks.running())
        names = (
            "reconcile",
            "streams",
            "outbox",
            "edge",
            "engine-events",
            "leases",
            "monitor",
            "revocations",
            *self.event_services.loops(),
            *self.led,
        )
        loops: dict[str, Any] = {
            name: {"running": name in running, "restarts": self.tasks.restarts.get(name, 0)} for name in names
        }
        for name, loop in self.led.items():
            age_s = None if loop.last_run is None else round(now - loop.last_run, 1)
            loops[name].update(holding=loop.holding, last_run_age_s=age_s)
        loops["reconcile"]["depth"] = self.queue.depth()
        loops["outbox"].update(holding=self.outbox.holding, published=self.outbox.published)
        for name, more in self.event_services.loops().items():
            loops[name].update(more)
        loops["leases"]["following"] = self.relays.following()
        loops["record-cache"] = {"hits": self.cache.hits, "misses": self.cache.misses}
        loops["streams"]["readers"] = self.streams.readers()
        return loops

    async def _refuse_an_empty_database(self) -> None:
        """Raise RefusedError when the database is empty but containers or workspaces exist.

        It is probably the wrong database, and working from it would remove these containers and workspaces.
        """
        if await self.store.count():
            return
        try:
            containers, workspaces = len(await self.sandboxes.found()), len(await self.sandboxes.kept())
        except DependencyError:
            return
        if containers or workspaces:
            raise RefusedError(
                "postgres",
                f"the database has no session, but {containers} containers and {workspaces} workspaces of instance "
                f"{self.settings.instance!r} exist. Restore the database or check DATABASE_URL; "
                f"to give them up: {self._giving_up()}",
            )

    def _giving_up(self) -> str:
        """Return the command that removes every container and workspace of this installation."""
        if self.settings.runtime == "local":
            return f"rm -r {shlex.quote(str(self.settings.data_dir / 'local'))}"
        mine = f"--filter label=jelmore.instance={self.settings.instance}"
        return f"docker ps -aq {mine} | xargs -r docker rm -f; docker volume ls -q {mine} | xargs -r docker volume rm"

    async def _settle(self) -> None:
        """Wait until every session was reconciled once, but not too long: the rest continues in the background."""
        deadline = time.monotonic() + _START_PATIENCE_S
        while self.queue.depth() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def _when_there(self, name: str, check: Any) -> None:
        deadline = time.monotonic() + _START_PATIENCE_S
        while True:
            try:
                await check()
            except DependencyError as error:
                if time.monotonic() > deadline:
                    raise
                _log.warning("waiting_for", dependency=name, error=str(error))
                await asyncio.sleep(1)
            else:
                return

    async def _keep_edge(self) -> None:
        while True:
            if await self.edge.program():
                _log.info("caddy_programmed")
            await asyncio.sleep(_EDGE_EVERY_S)

    async def _follow_engine(self) -> None:
        while True:
            async for session_id in self.sandboxes.changes():
                self.queue.add(session_id)
            for session_id in await self.store.unfinished():  # the stream broke: reconcile all, as events may be lost
                self.queue.add(session_id)
            await asyncio.sleep(1)

    async def _sweep(self) -> None:
        await self.sweeper.sweep(dry_run=False)
        await self.leases.tidy()

    async def _monitor(self) -> None:
        while True:
            await asyncio.sleep(self.settings.monitor_every_s)
            for session_id in await self.store.unfinished():
                self.queue.add(session_id)


def _holder(settings: Settings, slot: int) -> str:
    """Return a name that no other manager of the same database has. A slot alone is unique only in a run directory."""
    return f"{gethostname()}:{settings.run_dir.resolve()}:{slot}"


def _edge_options(settings: Settings, paths: RunPaths) -> EdgeOptions:
    return EdgeOptions(
        paths=paths,
        public_url=settings.public_url,
        http_listen=settings.http_listen,
        https_listen=settings.https_listen,
        tls=settings.tls,
        model_url=settings.anthropic_base_url,
    )


def _output_limits(settings: Settings) -> OutputLimits | None:
    """Return the limits that differ from the runner's own, None where they do not."""
    chosen = (settings.output_bytes, settings.output_bytes_per_s)
    fields = Settings.model_fields
    if chosen == (fields["output_bytes"].default, fields["output_bytes_per_s"].default):
        return None
    return OutputLimits(total_bytes=chosen[0], bytes_per_s=chosen[1])


def _credential(settings: Settings) -> ModelCredential:
    def text(secret: Any) -> str | None:
        return secret.get_secret_value() if secret is not None else None

    return ModelCredential(
        text(settings.anthropic_api_key), text(settings.anthropic_auth_token), text(settings.claude_code_oauth_token)
    )


def make_app(settings: Settings, slot: int | None = None, on_failure: Callable[[], None] = lambda: None) -> Any:
    """Return the ASGI application of one manager; its lifespan starts and closes the manager.

    It serves at once, and answers 503 until the manager has started. If the start fails, it calls `on_failure` to end
    the process. `slot` identifies the manager within its run directory.
    """
    from contextlib import asynccontextmanager

    manager = Manager(settings, settings.manager_slot or 0 if slot is None else slot)

    async def start() -> None:
        try:
            await manager.start()
        except Exception as error:  # noqa: BLE001 - no other code would see the error
            known = isinstance(error, JelmoreError)
            _log.error("manager_failed", error=str(error), exc_info=None if known else error)
            on_failure()

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        starting = asyncio.create_task(start(), name="manager start")
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.wait({starting})
            await manager.close()

    app = create_app(manager.services(), manager.api_config(), lifespan=lifespan)
    app.add_middleware(StartGate, ready=manager.health.ready)
    return app
