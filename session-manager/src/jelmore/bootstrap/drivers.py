"""The concrete drivers of one manager, made from the settings. Making them does no I/O."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from socket import gethostname
from typing import Final, Protocol

import structlog

from jelmore import __version__
from jelmore.control.ports import Ports
from jelmore.control.traces import Traces
from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.docker_engine import EngineAddress
from jelmore.drivers.docker_file_sandboxes import DockerFileSandboxes
from jelmore.drivers.docker_options import WantedOptions
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.gateway_link import GatewayLink
from jelmore.drivers.gateway_repositories import GatewayRepositories
from jelmore.drivers.local_disk import LocalDisk
from jelmore.drivers.local_file_sandboxes import LocalFileSandboxes
from jelmore.drivers.local_sandboxes import LocalSandboxes
from jelmore.drivers.nats_events import NatsEvents
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.paused_memory import SwappingSandboxes
from jelmore.drivers.port_http import AiohttpPortHttp
from jelmore.drivers.postgres_gateway import PostgresGateway
from jelmore.drivers.postgres_leases import PostgresLeases
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_pool import PostgresPool
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.postgres_transcripts import PostgresTranscripts
from jelmore.drivers.redis_attendance import RedisAttendance
from jelmore.drivers.redis_output import RedisOutput
from jelmore.drivers.redis_rates import RedisRates
from jelmore.drivers.redis_records import RedisRecords
from jelmore.drivers.runner_link import RunnerLink
from jelmore.drivers.runner_ports import RunnerPorts
from jelmore.drivers.runner_terminals import RunnerTerminals
from jelmore.drivers.skill_folders import SkillFolders
from jelmore.drivers.system_clock import SystemClock
from jelmore.drivers.transcript_link import TranscriptLink
from jelmore.drivers.workspace_link import WorkspaceLink
from jelmore.ports import FileSandboxes, Sandboxes
from jelmore.session.errors import DependencyError
from jelmore.settings import Settings
from jelmore_protocol.tracing import make_tracing

_log = structlog.get_logger(__name__)

_CLOSE_S: Final = 5.0


class Closable(Protocol):
    """A part that holds connections."""

    async def close(self) -> None:
        """Release them. May run twice."""


def make_sandboxes(settings: Settings) -> Sandboxes:
    """Return the `Sandboxes` driver that the settings name. Does no I/O."""
    paths = RunPaths(settings.run_dir)
    skills = SkillFolders(settings.skills_dir, settings.profile_skills_dir)
    if settings.runtime == "local":
        path = os.environ.get("PATH", os.defpath)
        return LocalSandboxes(data_dir=settings.data_dir, paths=paths, search_path=path, skills=skills)
    address = _engine_address(settings)
    make = SwappingSandboxes if settings.paused_to_swap else DockerSandboxes
    return make(
        address,
        image=settings.runner_image,
        instance=settings.instance,
        paths=paths,
        wanted=_container_options(settings),
        skills=skills,
    )


def make_file_sandboxes(settings: Settings) -> FileSandboxes:
    """Return the `FileSandboxes` driver that goes with the `Sandboxes` of the settings. Does no I/O."""
    paths = RunPaths(settings.run_dir)
    if settings.runtime == "local":
        search_path = os.environ.get("PATH", os.defpath)
        return LocalFileSandboxes(data_dir=settings.data_dir, paths=paths, search_path=search_path)
    address, wanted = _engine_address(settings), _container_options(settings)
    return DockerFileSandboxes(
        address, image=settings.runner_image, instance=settings.instance, paths=paths, wanted=wanted
    )


def _container_options(settings: Settings) -> WantedOptions:
    return WantedOptions(
        own_seccomp=settings.seccomp == "jelmore",
        apparmor=settings.apparmor,
        runtime=settings.oci_runtime,
        open_files=settings.open_files,
        cpu_shares=settings.cpu_shares,
        agent_uids=settings.agent_uid_range,
    )


def _engine_address(settings: Settings) -> EngineAddress:
    return EngineAddress(settings.docker_host, settings.docker_cert_path if settings.docker_tls_verify else None)


class Drivers:
    """Every concrete driver of one manager. `sandboxes` replaces the driver that the settings name."""

    def __init__(self, settings: Settings, slot: int, sandboxes: Sandboxes | None = None) -> None:
        database, redis = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
        self.paths = RunPaths(settings.run_dir)
        self.store = PostgresStore(database)
        self.outbox = PostgresOutbox(database, self.store.wrote)
        self.leases = PostgresLeases(database, holder=holder(settings, slot))
        self.records = RedisRecords(redis)
        self.rates = RedisRates(redis)
        self.attendance = RedisAttendance(redis)
        self.holder = holder(settings, slot)
        self.live = RedisOutput(redis, cap=settings.hot_tail_entries)
        self.events = NatsEvents(
            settings.nats_url.get_secret_value(),
            instance=settings.instance,
            max_age_s=settings.events_max_age_s,
            max_bytes=settings.events_max_bytes,
        )
        self.edge = CaddyEdge(_edge_options(settings, self.paths))
        self.gateway = GatewayLink(self.paths.gateway_control)
        self.repositories = GatewayRepositories(self.paths.gateway_control)
        self.gateway_store = PostgresGateway(database)
        self.pool = PostgresPool(database)
        self.tracing = make_tracing(
            "jelmore-session-manager",
            __version__,
            settings.otel_exporter_otlp_endpoint,
            settings.otel_exporter_otlp_headers.get_secret_value(),
            settings.trace_ratio,
        )
        self.runners = RunnerLink(tracing=self.tracing)
        self.terminals = RunnerTerminals()
        self.port_connections = RunnerPorts()
        self.port_http = AiohttpPortHttp()
        self.sandboxes = sandboxes or make_sandboxes(settings)
        self.file_sandboxes = make_file_sandboxes(settings)
        self.workspace_helpers = WorkspaceLink()
        self.transcripts = PostgresTranscripts(database)
        self.transcript_channels = TranscriptLink()
        self.disk = LocalDisk(settings.data_dir)
        self.traces = Traces(self.tracing)

    def ports(self) -> Ports:
        """Return the ports that a step of the reconciler may use."""
        return Ports(
            store=self.store,
            sandboxes=self.sandboxes,
            runners=self.runners,
            edge=self.edge,
            live=self.live,
            clock=SystemClock(),
            traces=self.traces,
        )

    def checks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Return the check of each dependency, for the health report."""
        return {
            "postgres": self.store.check,
            "redis": self.live.check,
            "nats": self.events.check,
            "caddy": self.edge.check,
            "gateway": self.gateway.check,
            "sandboxes": self.sandboxes.check,
            "run_directory": self.paths.check,
        }

    def closing(self) -> Sequence[Closable]:
        """Return the drivers that hold connections, in the order in which they are closed."""
        return (
            self.runners,
            self.gateway,
            self.gateway_store,
            self.edge,
            self.events,
            self.live,
            self.records,
            self.rates,
            self.attendance,
            self.sandboxes,
            self.file_sandboxes,
            self.pool,
            self.leases,
            self.transcripts,
            self.store,
        )


async def close_all(parts: Iterable[Closable]) -> None:
    """Close the parts in order. One that does not close in time is logged and left."""
    for part in parts:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await part.close()
        except (TimeoutError, DependencyError) as error:
            _log.warning("close_failed", part=type(part).__name__, error=str(error))


def holder(settings: Settings, slot: int) -> str:
    """Return a name that no other manager of the same database has. A slot alone is unique only in a run directory."""
    return f"{gethostname()}:{settings.run_dir.resolve()}:{slot}"


def _edge_options(settings: Settings, paths: RunPaths) -> EdgeOptions:
    return EdgeOptions(
        paths=paths,
        public_url=settings.public_url,
        http_listen=settings.http_listen,
        https_listen=settings.https_listen,
        tls=settings.tls,
        ports_host=settings.effective_ports_host,
        ports_certificate=str(settings.ports_certificate or ""),
    )
