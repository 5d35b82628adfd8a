"""The parts that budgets, the queue and erasures need, in memory, without a reconciler."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.budgets import Budgets
from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.erasure import Eraser
from jelmore.control.outcomes import Outcomes
from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.queue_calls import QueueCalls
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults
from jelmore.control.sessions import SessionQueries
from jelmore.control.sessions.runner_calls import RunnerCalls
from jelmore.control.streams import Streams
from jelmore.control.tasks import Tasks
from jelmore.control.watchers import Watchers
from jelmore.drivers.local_disk import LocalDisk
from jelmore.ports import SandboxSpec
from jelmore.session.limits import Limits
from jelmore.session.output import Output
from jelmore.session.record import Session, Spec, Timing
from jelmore.session.states import SessionStatus, WaitingFor
from jelmore_protocol.control import Phase
from jelmore_protocol.events import EventKind
from tests.fakes.edge import FakeEdge
from tests.fakes.memory_erasure import MemoryErasure
from tests.fakes.memory_events import MemoryEvents
from tests.fakes.memory_live_output import MemoryLiveOutput
from tests.fakes.memory_records import MemoryRecords
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_usage import MemoryUsage
from tests.fakes.runners import FakeRunner, FakeRunners
from tests.fakes.sandboxes import FakeSandboxes
from tests.support.records import ended, line, new_session
from tests.unit.control.virtual_time import VirtualClock


class StaticHarness:
    """Sessions with runners, which nothing but the test moves."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.store, self.sandboxes, self.runners = MemoryStore(), FakeSandboxes(), FakeRunners()
        self.live, self.bus = MemoryLiveOutput(), MemoryEvents()
        clock = VirtualClock()
        self.ports = Ports(self.store, self.sandboxes, self.runners, FakeEdge(), self.live, clock)
        redis = CircuitBreaker("redis", self.live.answers, self.tasks)
        self.cache = RecordCache(self.store, MemoryRecords(), redis)
        self.watchers = Watchers(self.store, self.cache)
        self.queue = WorkQueue(self._reconcile, self.tasks)
        self.usage = MemoryUsage(self.store)
        self.defaults = Defaults(Limits(), Limits(), Timing(), 3, 5, 5)
        self.budgets = Budgets(self.ports, self.usage, self.queue, self.watchers, self.defaults)
        outcomes = Outcomes(self.store, Streams(self.store, self.live, redis), self.watchers, self.cache)
        disk = DiskCapacity(0, LocalDisk(Path(tempfile.gettempdir())), self.sandboxes)
        queries = SessionQueries(self.ports, self.cache, outcomes, self.defaults, disk=disk)
        calls = RunnerCalls(self.ports, self.queue, self.watchers, self.defaults)
        self.queue_calls = QueueCalls(self.ports, calls, queries)
        self.erasures = MemoryErasure(self.store)
        self.eraser = Eraser(self.ports, self.erasures, self.bus, self.cache, self._end)

    async def _reconcile(self, _: UUID) -> float | None:
        return None

    async def _end(self, _: Caller, session_id: UUID) -> Session:
        return await self.store.save(*ended(await self.store.load(session_id)))

    async def session(self, **changes: Any) -> tuple[Session, FakeRunner]:
        """Return a session that waits for a prompt, and its runner."""
        plain: dict[str, Any] = {"status": SessionStatus.WAITING_INPUT, "waiting_for": WaitingFor.PROMPT}
        made = new_session(**{**plain, "spec": Spec(user_id="ann"), **changes})
        await self.sandboxes.start(SandboxSpec(made.id, 1, Limits()))
        sandbox = await self.sandboxes.observe(made.id)
        assert sandbox is not None
        assert sandbox.control is not None
        made = replace(made, container_id=sandbox.id)
        made, _ = await self.store.create(made, [], most_live=99, idempotency=None)
        runner = self.runners.add(sandbox.control)
        runner.phase = Phase.READY
        return made, runner

    async def spend(self, session: Session, cost_usd: float, **changes: Any) -> Session:
        """Store a turn that cost so much."""
        session = await self.store.load(session.id)
        seq = session.output_seq + 1
        models = {"opus": {"input_tokens": 1, "output_tokens": 1, "cost_usd": cost_usd}}
        output: Output = line(seq, {"models": models, "cost_usd": cost_usd}, EventKind.TURN_ENDED)
        usage = replace(session.usage, cost_usd=session.usage.cost_usd + cost_usd)
        return await self.store.save(replace(session, output_seq=seq, usage=usage, **changes), [], [output])
