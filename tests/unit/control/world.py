"""A whole world around managers: stores, a machine and an edge that outlive them, and managers to start and kill."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from jelmore.control.access import Access
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.egress_approvals import EgressApprovals
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.leadership import LeaderTask
from jelmore.control.outbox import OutboxRelay
from jelmore.control.pool import ProfilePool, WarmPool
from jelmore.control.ports import Ports
from jelmore.control.prober import Prober
from jelmore.control.publisher import Publisher
from jelmore.control.queue import WorkQueue
from jelmore.control.reconciler import Reconciler
from jelmore.control.relay import Relays
from jelmore.control.requests import Caller, CreateRequest
from jelmore.control.resources import ResourceKeeper
from jelmore.control.runner_start import RunnerStart
from jelmore.control.session_spec import Defaults, new_session
from jelmore.control.sessions import RunnerCalls, make_session_calls
from jelmore.control.streams import Streams
from jelmore.control.sweeper import Retention, Sweeper
from jelmore.control.tasks import Tasks
from jelmore.control.watchers import Watchers
from jelmore.ports import ApiKey, Clock, Leases, Outbox, PoolStore, Role, Store
from jelmore.session.limits import Limits
from jelmore.session.pool import Rules
from jelmore.session.profiles import Profile
from jelmore.session.record import Session, Timing
from jelmore.session.steps import Policy
from tests.fakes.edge import FakeEdge
from tests.fakes.gateway import FakeGateway
from tests.fakes.memory_events import MemoryEvents
from tests.fakes.memory_gateway import MemoryGateway
from tests.fakes.memory_leases import LeaseTable, MemoryLeases
from tests.fakes.memory_live_output import MemoryLiveOutput
from tests.fakes.memory_pool import FakeMemory, MemoryPool
from tests.fakes.memory_records import MemoryRecords
from tests.fakes.memory_store import MemoryOutbox, MemoryStore
from tests.unit.control.crashing import Fuse, guard
from tests.unit.control.machine import Machine
from tests.unit.control.virtual_time import EPOCH, VirtualClock

TIMING = Timing(idle_after_s=0, hibernate_after_s=0, timeout_s=0)
POLICY = Policy(start_timeout_s=30, stop_timeout_s=5, drain_timeout_s=5, restart_backoff_s=0.5)
ALICE = Caller(ApiKey("key_alice", "alice", Role.CLIENT, EPOCH))
BOB = Caller(ApiKey("key_bob", "bob", Role.CLIENT, EPOCH))
ADMIN = Caller(ApiKey("key_admin", "admin", Role.ADMIN, EPOCH))
READER = Caller(ApiKey("key_reader", "reader", Role.READONLY, EPOCH))

_NOBODY = Caller(ApiKey("", "the warm pool", Role.READONLY, EPOCH))


@dataclass
class World:
    """What outlives a manager."""

    store: Any = field(default_factory=MemoryStore)
    live: MemoryLiveOutput = field(default_factory=MemoryLiveOutput)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    events: MemoryEvents = field(default_factory=MemoryEvents)
    edge: FakeEdge = field(default_factory=FakeEdge)
    gateway: FakeGateway = field(default_factory=FakeGateway)
    machine: Machine = field(default_factory=Machine)
    leases: LeaseTable = field(default_factory=LeaseTable)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    clock: Clock = field(default_factory=VirtualClock)
    memory: FakeMemory = field(default_factory=FakeMemory)
    pool_size: int = 0
    pool_max_age_s: float = 0
    profile_pools: dict[str, int] = field(default_factory=dict)  # the sizes of those beside the default one
    most_live: int = 3
    look_s: float = 0.3  # between two looks of whoever waits for something

    def __post_init__(self) -> None:
        self.machine.now = self.clock.now

    def make_store(self) -> Store:
        """Return a manager's own way to the store."""
        store: Store = self.store
        return store

    def make_pool(self) -> PoolStore:
        """Return a manager's own way to the members of the warm pool."""
        return MemoryPool(self.store, self.clock)

    def make_outbox(self) -> Outbox:
        """Return a manager's own way to the outbox."""
        return MemoryOutbox(self.store, self.lock)

    def make_leases(self, holder: str) -> Leases:
        """Return a manager's own way to the leases."""
        return MemoryLeases(self.store, self.leases, holder)


class Manager:
    """One manager, wired as `bootstrap` does, on the world's ports behind a fuse."""

    def __init__(
        self,
        world: World,
        *,
        holder: str = "manager-0",
        policy: Policy = POLICY,
        most_live: int | None = None,
        timing: Timing = TIMING,
        retention: Retention | None = None,
        floor_bytes: int = 0,
    ) -> None:
        self._pool_size = pool_size = world.pool_size
        self.profile_pools = world.profile_pools
        self.plain_options: dict[str, Any] = {}  # those of a create that asks for nothing
        self.fuse = Fuse()
        self.tasks = Tasks()
        fuse = self.fuse
        self.store = guard(world.make_store(), "store", fuse)
        self.live = guard(world.live, "live", fuse)
        self.ports = Ports(
            store=self.store,
            sandboxes=guard(world.machine, "sandboxes", fuse),
            runners=guard(world.machine.runners, "runners", fuse),
            edge=guard(world.edge, "edge", fuse),
            live=self.live,
            clock=world.clock,
        )
        self.leases = guard(world.make_leases(holder), "leases", fuse)
        self.queue = WorkQueue(self._reconcile, self.tasks)
        redis = CircuitBreaker("redis", self.live.answers, self.tasks)
        self.cache = RecordCache(self.store, guard(world.records, "records", fuse), redis)
        self.watchers = Watchers(self.store, self.cache)
        self.streams = Streams(self.store, self.live, redis)
        self.publisher = Publisher(self.store, self.live, self.cache, self.watchers, self.streams, redis, self.tasks)
        self.access = Access(self.store, token_ttl_s=3600)
        gateway = guard(world.gateway, "gateway", fuse)
        pool_store = guard(world.make_pool(), "pool", fuse)
        self.gateway_keeper = GatewayKeeper(
            gateway, self.store, MemoryGateway(world.store), lambda: self.access.signing.public_pem, pool=pool_store
        )
        self.relays = Relays(
            self.store,
            self.ports.runners,
            self.publisher,
            self.tasks,
            self.leases,
            enqueue=self.queue.add,
        )
        self.prober = Prober(
            self.ports,
            self.queue.add,
            ResourceKeeper(self.ports, self.watchers),
            grace_s=0,
            tolerated=policy.probes_tolerated,
        )
        self.reconciler = Reconciler(
            self.ports,
            self.relays,
            self.publisher,
            RunnerStart(self.ports.runners, self.relays, self.access, self.gateway_keeper),
            policy,
            gateway=self.gateway_keeper,
            concurrent_starts=4,
            stop_grace_s=1,
            hot_tail_ttl_s=60,
            probes_failed=self.prober.failed,
        )
        self.outbox = OutboxRelay(guard(world.make_outbox(), "outbox", fuse), guard(world.events, "events", fuse))
        self.defaults = defaults = Defaults(
            limits=Limits(output_bytes=2 * 1024**3, output_bytes_per_s=1024**2),
            ceiling=Limits(output_bytes=2**40, output_bytes_per_s=2**30),
            timing=timing,
            most_live=world.most_live if most_live is None else most_live,
            start_patience_s=40,
            stop_patience_s=40,
            warm=lambda: any(each.size for each in self._pools()),
        )
        disk = DiskCapacity(floor_bytes, self.ports.sandboxes)
        rules = Rules(pool_size, world.pool_max_age_s, start_timeout_s=policy.start_timeout_s)
        self.pool = WarmPool(
            self.ports,
            pool_store,
            self.gateway_keeper,
            defaults,
            rules,
            pools=self._pools,
            memory=world.memory,
            disk=disk,
        )
        kept = retention or Retention(quarantine_s=60, workspace_s=0, record_s=0)
        self.sweeper = Sweeper(self.ports, self.queue.add, kept, self.pool.ids)
        self.approvals = EgressApprovals(gateway, self.ports, self.queue, self.watchers)
        self.queries, self.commands = make_session_calls(
            self.ports,
            self.queue,
            self.watchers,
            self.access,
            self.streams,
            self.cache,
            defaults,
            runner_calls=RunnerCalls(self.ports, self.queue, self.watchers, defaults),
            disk=disk,
            revoke=self.gateway_keeper.revoke,
            pool=self.pool,
            approvals=self.approvals,
        )

    def _pools(self) -> list[ProfilePool]:
        return [self._pool(name, size) for name, size in {"default": self._pool_size, **self.profile_pools}.items()]

    def _pool(self, name: str, size: int) -> ProfilePool:
        request = CreateRequest(options=self.plain_options, profile=Profile(name))
        return ProfilePool(name, size, new_session(_NOBODY, request, self.defaults, self.ports.clock.now()))

    async def _reconcile(self, session_id: UUID) -> float | None:
        return await self.reconciler.reconcile(session_id)

    async def start(self) -> None:
        """Do what a manager does first, in the order of `bootstrap`."""
        await self.access.open(None)
        self.tasks.keep("reconcile", self.queue.run)
        self.tasks.keep("streams", self.streams.run)
        self.tasks.keep("outbox", self.outbox.run)
        self.tasks.keep("engine-events", self._follow_engine)
        self.tasks.keep("gateway", self.gateway_keeper.run)
        self.tasks.keep("gateway-revocations", self.gateway_keeper.run_revocations)
        for session_id in await self.store.unfinished():
            self.queue.add(session_id)
        for name, body in (("probes", self.prober.probe_all), ("sweep", self._sweep)):
            self.tasks.keep(name, LeaderTask(name, body, self.leases, every_s=30).run)
        if self._pool_size or self.profile_pools:
            self.tasks.keep("pool", LeaderTask("pool", self.pool.keep, self.leases, every_s=2).run)
        self.tasks.keep("leases", self.relays.keep_leases)
        self.tasks.keep("monitor", self._monitor)

    async def kill(self) -> None:
        """End it as `kill -9` does: none of its calls takes effect any more."""
        self.fuse.die()
        await self.tasks.close()

    async def attempt[T](self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what a call of the API answers; None when the manager died meanwhile."""

        async def answer() -> T:
            return await call()

        work = asyncio.create_task(answer(), name="work")
        death = asyncio.create_task(self.fuse.died.wait(), name="death")
        try:
            await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            return await work if work.done() else None
        finally:
            for task in (work, death):
                task.cancel()
            await asyncio.gather(work, death, return_exceptions=True)

    async def _sweep(self) -> None:
        await self.sweeper.sweep(dry_run=False)

    async def _follow_engine(self) -> None:
        async for session_id in self.ports.sandboxes.changes():
            self.queue.add(session_id)

    async def _monitor(self) -> None:
        while True:
            await asyncio.sleep(60)
            for session_id in await self.store.unfinished():
                self.queue.add(session_id)


async def until(world: World, session_id: UUID, holds: Callable[[Session], bool], what: str) -> None:
    """Return when `holds` is true of the stored record; fail after five virtual minutes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 300
    while True:
        session = await world.store.load(session_id)
        if holds(session):
            return
        if loop.time() > deadline:
            raise AssertionError(f"{what} did not come: {session}, {world.machine.sandboxes}")
        await asyncio.sleep(0.05)
