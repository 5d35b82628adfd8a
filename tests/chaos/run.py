"""One run: begin, break things, come to rest, compare. The same seed draws the same faults, targets and pauses."""

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.chaos.bus import Bus
from tests.chaos.faults import Fault, Scene
from tests.chaos.installation import Installation
from tests.chaos.invariants import check_events, check_inputs, check_output, check_tail, check_world
from tests.chaos.notebook import Notebook
from tests.chaos.truth import members, read_truth, rows
from tests.chaos.watch import Watch
from tests.chaos.workload import Busy
from tests.support.stack_client import SESSIONS

WELL_S: Final = 60.0
"""How long anything may take to recover from any one fault."""

_REST_S: Final = 120.0
_LEVEL_S: Final = 40.0
_ENDED_S: Final = 45.0
_MAX_AGENT_KILLS: Final = 3
"""The runner starts Claude Code again three times in ten minutes; a fourth kill ends the session, rightly."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long a fault was felt: until /health was ok again, and until its session answered a prompt."""

    fault: str
    at_s: float
    well_s: float
    answered_s: float


@dataclass(slots=True)
class Outcome:
    """What a run saw."""

    recoveries: list[Recovery] = field(default_factory=list)
    outputs: int = 0
    events: int = 0
    inputs: int = 0
    interrupted: int = 0
    reconnects: int = 0
    gaps: int = 0


class Run:
    """A workload on one installation. `faults` are injected one after another, or two at once by chance."""

    def __init__(self, installation: Installation, notebook: Notebook, *, seed: int, sessions: int) -> None:
        self.outcome = Outcome()
        self._installation = installation
        self._notebook = notebook
        self._seed = seed
        self._sessions = sessions
        self._chance = random.Random(seed)
        self._busy: list[Busy] = []
        self._http = httpx.AsyncClient(
            base_url=installation.url,
            headers={"X-API-Key": installation.api_key},
            timeout=30,
            trust_env=False,
            limits=httpx.Limits(max_connections=200),
        )
        self._watch = Watch(installation, self._http, notebook)
        self._bus = Bus(installation, notebook)
        self._redis_was_away = False
        self._all_well = True
        self._ended: set[str] = set()

    async def once_each(self, faults: Sequence[Fault]) -> None:
        """Inject each fault once, in an order of the seed, and check everything afterwards."""
        order = self._chance.sample(list(faults), len(faults))
        await self._through(order, until=None)

    async def for_minutes(self, faults: Sequence[Fault], minutes: float) -> None:
        """Inject faults for that long, every one of them before any comes again, and check everything afterwards."""
        order: list[Fault] = []
        while len(order) < 100_000 // len(faults):
            order += self._chance.sample(list(faults), len(faults))
        await self._through(order, until=time.monotonic() + minutes * 60)

    async def _through(self, order: Sequence[Fault], until: float | None) -> None:
        stop = asyncio.Event()
        async with self._http, asyncio.TaskGroup() as tasks:
            await self._create()
            watching = [
                tasks.create_task(self._watch.run(), name="watch"),
                tasks.create_task(self._bus.follow(), name="bus"),
            ]
            for busy in self._busy:
                watching += busy.watch(tasks)
            working = [
                tasks.create_task(busy.work(f"{self._seed}/{index}", stop), name=f"busy {index}")
                for index, busy in enumerate(self._busy[1:])
            ]
            try:
                await self._inject_faults(order, until)
                self._notebook.say("no more faults; coming to rest")
                stop.set()
                await asyncio.wait(working, timeout=_REST_S)
                await self._come_to_rest()
                await self._compare()
                await self._end_all()
            finally:
                stop.set()
                for task in [*watching, *working]:
                    task.cancel()

    async def _create(self) -> None:
        for index in range(self._sessions):
            body = {} if index else {"idle_after_s": 0}  # the first stays awake, to be asked how things are
            answer = await self._http.post(SESSIONS, json=body, timeout=90)
            assert answer.status_code == 201, answer.text
            self._busy.append(Busy(self._installation, self._http, self._notebook, answer.json()))
        self._notebook.say(f"sessions: {' '.join(busy.id for busy in self._busy)}")

    # --- how it breaks

    async def _inject_faults(self, order: Sequence[Fault], until: float | None) -> None:
        for fault in order:
            pause_s = self._chance.uniform(0.2, 1.0 if until is None else 3.0)
            at_once = self._chance.random() < 0.25
            target = self._chance.choice(self._busy)
            if until is not None and time.monotonic() > until:
                return
            await asyncio.sleep(pause_s)
            await self._inject(fault, target, wait=until is None or not at_once)

    async def _inject(self, fault: Fault, target: Busy, *, wait: bool) -> None:
        notebook = self._notebook
        if fault.name == "agent killed" and target.agent_kills >= _MAX_AGENT_KILLS:
            target = min(self._busy, key=lambda busy: busy.agent_kills)
            if target.agent_kills >= _MAX_AGENT_KILLS:
                return
        self._redis_was_away |= "redis" in fault.name
        notebook.say(f"fault: {fault.name} (drawn for {target.id})")
        began, alone, self._all_well = notebook.now_s(), self._all_well, False
        try:
            await fault.inject(self._scene(target, alone=alone))
        except AssertionError as error:  # what was to be broken is still broken by the one before
            notebook.say(f"fault: {fault.name} did not happen: {str(error)[:200]}")
            return
        if not wait:
            return
        over = notebook.now_s()
        if why := await self._watch.until_well(WELL_S):
            notebook.find(f"{fault.name}: not well after {WELL_S} s: {why}")
        well_s = notebook.now_s() - over
        asked = target if fault.aimed else self._busy[0]
        if await asked.answers(WELL_S) is None:
            notebook.find(f"{fault.name}: {asked.id} did not answer within {WELL_S} s")
        self._all_well = not why
        recovery = Recovery(fault.name, began, well_s, notebook.now_s() - over)
        self.outcome.recoveries.append(recovery)
        notebook.say(f"recovered: well after {recovery.well_s:.1f} s, answered after {recovery.answered_s:.1f} s")

    def _scene(self, target: Busy, *, alone: bool) -> Scene:
        steady = self._busy[0]
        return Scene(self._installation, target, steady, self._watch, self._notebook, alone, self._http, self._ended)

    # --- coming to rest

    async def _come_to_rest(self) -> None:
        await asyncio.to_thread(self._installation.end_second, signal.SIGTERM)
        if why := await self._watch.until_well(WELL_S):
            self._notebook.find(f"not well at the end: {why}")
        deadline = time.monotonic() + _REST_S
        while left := {busy.id: busy.unsettled() for busy in self._busy if busy.unsettled()}:
            if time.monotonic() > deadline:
                self._notebook.find(f"inputs without an end after {_REST_S} s: {left}")
                break
            await asyncio.sleep(0.2)
        deadline = time.monotonic() + _LEVEL_S
        while why := await self._uneven():
            if time.monotonic() > deadline:
                self._notebook.say(f"not level after {_LEVEL_S} s: {why}")
                break
            await asyncio.sleep(0.3)

    async def _uneven(self) -> str:
        """Return which session has not settled; the comparison says what is wrong with it."""
        found = await rows(self._installation)
        for busy in self._busy:
            row = found[busy.id]
            if any(cursor.position != row["output_seq"] for cursor in busy.cursors):
                positions = {cursor.name: cursor.position for cursor in busy.cursors}
                return f"output_seq {row['output_seq']}, subscribers {positions}"
            published = self._bus.cursors.get(busy.id)
            if busy.events.position != row["event_seq"] or published is None or published.position != row["event_seq"]:
                places = f"REST {busy.events.position}, bus {published and published.position}"
                return f"{busy.id}: event_seq {row['event_seq']}, {places}"
            if row["presence"] != ("awake" if busy is self._busy[0] else "hibernated"):
                return f"{busy.id} is {row['presence']}"  # it is about to sleep; nothing moves after that
        sandboxes = await asyncio.to_thread(self._installation.sandboxes)
        pool = await members(self._installation)
        if list(pool.values()) != ["ready"]:
            return f"the warm pool is {pool}"
        return f"containers {sandboxes}" if set(sandboxes) != {self._busy[0].id, *pool} else ""

    # --- comparing

    async def _compare(self) -> None:
        found = await rows(self._installation)
        for unknown in found.keys() - {busy.id for busy in self._busy} - self._ended:
            self._notebook.find(f"a session {unknown} that nobody made")
        check_world(self._installation, found, await members(self._installation), self._notebook)
        for busy in self._busy:
            truth = await read_truth(self._installation, busy.id)
            check_output(busy, truth, self._notebook)
            check_tail(busy, truth, wiped=self._redis_was_away, notebook=self._notebook)
            check_events(busy, truth, self._bus.cursors.get(busy.id), self._notebook)
            check_inputs(busy, truth, self._notebook)
            self._count(busy, truth.journal, len(truth.events))
        self._notebook.say(f"compared: {self.outcome.outputs} outputs, {self.outcome.events} events")

    def _count(self, busy: Busy, journal: list[dict[str, object]], events: int) -> None:
        outcome = self.outcome
        outcome.outputs += len(journal)
        outcome.events += events
        outcome.inputs += sum(event["kind"] == "input" for event in journal)
        outcome.interrupted += sum(event["kind"] == "interrupted" for event in journal)
        often = {cursor.name.split(" ", 1)[1]: cursor.connections for cursor in busy.cursors}
        self._notebook.say(f"{busy.id}: {len(journal)} outputs; connections {often}")
        outcome.reconnects += sum(cursor.connections - 1 for cursor in busy.cursors)
        outcome.gaps += sum(cursor.gaps for cursor in busy.cursors)

    async def _end_all(self) -> None:
        for busy in self._busy:
            answer = await self._http.delete(busy.path, timeout=60)
            if answer.status_code != 200:
                self._notebook.find(f"{busy.id}: DELETE answers {answer.status_code} {answer.text[:200]}")
        deadline = time.monotonic() + _ENDED_S
        while left := await self._left():
            if time.monotonic() > deadline:
                self._notebook.find(f"after every session was deleted there are still {left}")
                return
            await asyncio.sleep(0.2)

    async def _left(self) -> list[str]:
        found = await rows(self._installation)
        live = [f"session {each} as {row['status']}" for each, row in found.items() if row["ended_at"] is None]
        pool = await members(self._installation)
        sandboxes = [f"container of {each}" for each in self._installation.sandboxes() if each not in pool]
        routes = [f"route of {each}" for each in self._installation.routes()]
        folders = [f"folder of {each}" for each in self._installation.old_folders()]
        return live + sandboxes + routes + folders


def table(recoveries: Sequence[Recovery]) -> str:
    """Return how long each fault was felt, worst of its occurrences, as lines of text."""
    names = sorted({each.fault for each in recoveries})
    lines = [f"{'fault':36} times   well s  answered s   (worst)"]
    for name in names:
        mine = [each for each in recoveries if each.fault == name]
        well, answered = max(each.well_s for each in mine), max(each.answered_s for each in mine)
        lines.append(f"{name:36} {len(mine):5}  {well:7.1f}  {answered:10.1f}")
    return "\n".join(lines)
