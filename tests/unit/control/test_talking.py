"""Prompts, permissions and interrupts, to a session that is awake and to one that sleeps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from jelmore.control.requests import CreateRequest
from jelmore.ports import Page
from jelmore.session.errors import (
    AlreadyAnsweredError,
    CapacityError,
    InvalidRequestError,
    TooLargeError,
    UnknownRequestError,
)
from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore.session.states import Presence, SessionStatus, WaitingFor
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.control import OutputLimits, PermissionAnswer
from jelmore_protocol.events import EventKind, Pending
from jelmore_protocol.events import WaitingFor as Waits
from tests.fakes.memory_store import MemoryStore
from tests.unit.control.manager_harness import ManagerHarness
from tests.unit.control.world import ALICE, World, until


class LateStore(MemoryStore):
    """Stores output `late_s` after the runner has journaled it, and notes from where output is read."""

    late_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.read_after: list[int] = []

    async def save(self, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        if outputs:
            await asyncio.sleep(self.late_s)
        return await super().save(session, drafts, outputs)

    async def output(
        self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[Output]:
        self.read_after.append(after)
        return await super().output(session_id, after, limit, kinds, max_bytes=max_bytes)


@pytest.mark.parametrize("presence", [Presence.PAUSED, Presence.HIBERNATED])
async def test_input_resumes_a_sleeping_session(harness: ManagerHarness, presence: Presence) -> None:
    session_id = await harness.sleeping_session(presence)
    await harness.input(session_id)
    await until(harness.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    types = [event.type for event in await harness.world.store.events(session_id, 0, 100)]
    assert types.count("session.resumed") == 1


@pytest.mark.parametrize("presence", list(Presence))
async def test_one_input_id_is_executed_once_however_often_it_comes(
    harness: ManagerHarness, presence: Presence
) -> None:
    session_id = await harness.create() if presence is Presence.AWAKE else await harness.sleeping_session(presence)
    before = (await harness.record(session_id)).output_seq
    seqs = set(await asyncio.gather(*(harness.input(session_id, "go", "same") for _ in range(20))))
    await until(harness.world, session_id, lambda one: one.output_seq > before and not one.pending_inputs, "it")
    recorded = harness.world.machine.disks[session_id].inputs["same"]
    assert seqs <= ({before, recorded} if presence is Presence.HIBERNATED else {recorded})
    assert harness.world.machine.disks[session_id].executed == ["same"]


async def test_a_sleeping_session_without_a_slot_stays_asleep_and_the_caller_gets_the_reason(
    harness: ManagerHarness,
) -> None:
    session_id = await harness.sleeping_session(Presence.HIBERNATED)
    for _ in range(3):
        await harness.create()
    with pytest.raises(CapacityError):
        await harness.input(session_id)
    assert (await harness.record(session_id)).presence is Presence.HIBERNATED


async def test_limits_of_output_reach_the_runner_when_they_are_chosen(harness: ManagerHarness) -> None:
    plain = harness.runner(await harness.create()).init
    assert plain is not None
    assert "output_limits" not in plain.model_fields_set, "a runner of an earlier image would refuse it"
    defaults = harness.commands._defaults
    ceiling = replace(defaults.ceiling, output_bytes=2**30, output_bytes_per_s=2**20)
    harness.commands._defaults = replace(defaults, ceiling=ceiling)
    wanted = CreateRequest(limits={"output_bytes": 2**20, "output_bytes_per_s": 4096})
    created = await harness.commands.create(ALICE, wanted, idempotency=None, wait=True)
    init = harness.runner(created.session.id).init
    assert init is not None
    assert init.output_limits == OutputLimits(total_bytes=2**20, bytes_per_s=4096)


async def test_the_first_input_to_an_awake_session_does_not_ask_the_engine(harness: ManagerHarness) -> None:
    session_id = await harness.create()
    harness.world.machine.away = True
    async with asyncio.timeout(1):
        assert await harness.input(session_id, input_id="i")
    harness.world.machine.away = False
    assert "i" in harness.runner(session_id).inputs


async def test_waiting_for_the_result(harness: ManagerHarness) -> None:
    session_id = await harness.create()
    call = asyncio.create_task(harness.commands.input(ALICE, session_id, "go", input_id="i", wait_s=30), name="call")
    await until(harness.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    await harness.runner(session_id).finish()
    accepted = await call
    assert accepted.result is not None
    assert accepted.result["result"] == "done"
    late = await harness.commands.input(ALICE, session_id, "go on", input_id="j", wait_s=5)
    assert late.result is None


async def test_an_accepted_input_is_no_failure_when_its_result_cannot_be_read(harness: ManagerHarness) -> None:
    session_id = await harness.create()
    call = asyncio.create_task(harness.commands.input(ALICE, session_id, "go", input_id="i", wait_s=60), name="call")
    await until(harness.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    harness.world.store.away = True
    accepted = await call
    assert (accepted.input_id, accepted.result) == ("i", None)
    harness.world.store.away = False
    assert harness.world.machine.disks[session_id].executed == ["i"]


@pytest.mark.parametrize("late_s", [0.01, 3.0])
async def test_waiting_for_the_result_reads_nothing_that_was_said_before(late_s: float) -> None:
    store = LateStore()
    harness = ManagerHarness(World(store=store))
    await harness.manager.start()
    session_id = await harness.create()
    for _ in range(50):
        last = await harness.runner(session_id).say(EventKind.ERROR, {"code": "x", "message": "y"})
    await until(harness.world, session_id, lambda one: one.output_seq == last, "stored")
    store.late_s = late_s
    harness.world.live.away = True  # so that all is read from the store
    call = asyncio.create_task(harness.commands.input(ALICE, session_id, "go", input_id="i", wait_s=30), name="call")
    await until(harness.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    await harness.runner(session_id).finish()
    accepted = await call
    assert accepted.result is not None
    assert accepted.result["result"] == "done"
    assert min(store.read_after) == accepted.seq == last + 1
    await harness.manager.kill()


@pytest.mark.parametrize(
    ("text", "error"),
    [("", InvalidRequestError), (" \n", InvalidRequestError), ("x" * (MAX_INPUT_BYTES + 1), TooLargeError)],
)
async def test_bad_input_is_refused(harness: ManagerHarness, text: str, error: type[Exception]) -> None:
    session_id = await harness.create()
    with pytest.raises(error):
        await harness.input(session_id, text)


async def test_permissions_are_listed_and_answered_once(harness: ManagerHarness) -> None:
    session_id = await harness.create("go")
    asked = Pending(request_id="r", waiting_for=Waits.PERMISSION, tool="Bash", title="t", input={"command": "ls"})
    await harness.runner(session_id).ask(asked)
    await until(harness.world, session_id, lambda one: one.waiting_for is WaitingFor.PERMISSION, "asked")
    assert list(await harness.queries.permissions(ALICE, session_id)) == [asked]
    answer = PermissionAnswer(decision="allow")
    assert await harness.commands.answer(ALICE, session_id, "r", answer) > 0
    with pytest.raises(AlreadyAnsweredError):
        await harness.commands.answer(ALICE, session_id, "r", answer)
    with pytest.raises(UnknownRequestError):
        await harness.commands.answer(ALICE, session_id, "other", answer)
    await until(harness.world, session_id, lambda one: not one.pending, "answered")
    resolved = await harness.world.store.output(session_id, 0, 100, ["permission_resolved"])
    assert [each.data["by"] for each in resolved] == [ALICE.subject]


async def test_interrupting_never_wakes(harness: ManagerHarness) -> None:
    awake, sleeping_session = await harness.create("go"), await harness.sleeping_session(Presence.PAUSED)
    for session_id in (awake, sleeping_session):
        await harness.commands.interrupt(ALICE, session_id)
    assert harness.runner(awake).interrupts == 1
    assert (await harness.record(sleeping_session)).presence is Presence.PAUSED
