"""The calls on sessions, in every state a session can be in."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from jelmore.control.requests import Changes, CreateRequest
from jelmore.ports import Idempotency, ListQuery, Page
from jelmore.session.errors import (
    AlreadyAnsweredError,
    CapacityError,
    ConflictError,
    ForbiddenError,
    IdempotencyMismatchError,
    InvalidRequestError,
    RefusedError,
    SessionEndedError,
    StartFailedError,
    TooLargeError,
    UnknownRequestError,
    UnknownSessionError,
)
from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.profiles import Ceiling, Profile
from jelmore.session.record import Session
from jelmore.session.states import Presence, SessionStatus, WaitingFor
from jelmore.session.world import Route, SandboxState
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.control import OutputLimits, PermissionAnswer
from jelmore_protocol.events import EventKind, Pending
from jelmore_protocol.events import WaitingFor as Waits
from jelmore_protocol.gateway import sandbox_key
from jelmore_protocol.tokens import Scope
from tests.fakes.memory_store import MemoryStore
from tests.unit.control.machine import HostedRunner
from tests.unit.control.world import ADMIN, ALICE, BOB, READER, Manager, World, until

QUIET: dict[str, float] = {"idle_after_s": 4, "hibernate_after_s": 0}
SLEEPY: dict[str, float] = {"idle_after_s": 4, "hibernate_after_s": 10}


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


class House:
    """A world with one manager."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.manager = Manager(self.world)
        self.queries, self.commands = self.manager.queries, self.manager.commands

    async def create(self, query: str | None = None, timing: dict[str, float] | None = None) -> UUID:
        request = CreateRequest(query=query, timing=timing or {})
        return (await self.commands.create(ALICE, request, idempotency=None, wait=True)).session.id

    async def record(self, session_id: UUID) -> Session:
        session: Session = await self.world.store.load(session_id)
        return session

    def runner(self, session_id: UUID) -> HostedRunner:
        return self.world.machine.runner(session_id)

    async def asleep(self, presence: Presence) -> UUID:
        session_id = await self.create(timing=QUIET if presence is Presence.PAUSED else SLEEPY)
        state = SandboxState.PAUSED if presence is Presence.PAUSED else None

        def resting(session: Session) -> bool:
            return session.presence is presence and self.world.machine.state(session_id) is state

        await until(self.world, session_id, resting, presence.value)
        return session_id

    async def input(self, session_id: UUID, text: str = "go", input_id: str | None = None) -> int:
        return (await self.commands.input(ALICE, session_id, text, input_id=input_id, wait_s=None)).seq


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.manager.start()
    yield house
    await house.manager.kill()


# --- creating


async def test_created_means_reachable(house: House) -> None:
    session_id = await house.create("hello")
    session = await house.record(session_id)
    assert (session.status, session.container_id is not None) == (SessionStatus.ACTIVE, True)
    assert house.world.edge.published[session_id][1] is Route.RUNNER
    assert house.world.machine.disks[session_id].executed == [str(session_id)]


async def test_beyond_capacity_there_is_a_clear_no_and_no_half_session(house: House) -> None:
    results = await asyncio.gather(*(house.create() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, UUID) for result in results) == 3
    assert sum(isinstance(result, CapacityError) for result in results) == 5
    assert len(house.world.store.sessions) == len(house.world.machine.sandboxes) == 3
    made = next(result for result in results if isinstance(result, UUID))
    await house.commands.delete(ALICE, made, reason="room", wait=True)
    assert isinstance(await house.create(), UUID)


async def test_one_key_makes_one_session(house: House) -> None:
    key = Idempotency("k", "digest")
    many = await asyncio.gather(
        *(house.commands.create(ALICE, CreateRequest(), idempotency=key, wait=True) for _ in range(5))
    )
    assert len({created.session.id for created in many}) == 1
    assert sum(created.is_new for created in many) == 1
    with pytest.raises(IdempotencyMismatchError):
        await house.commands.create(ALICE, CreateRequest(), idempotency=Idempotency("k", "other"), wait=False)
    others = await house.commands.create(BOB, CreateRequest(), idempotency=key, wait=False)
    assert others.is_new, "a key is its caller's own"


async def test_without_waiting_it_is_answered_at_once(house: House) -> None:
    created = await house.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)
    assert created.session.status is SessionStatus.INITIALIZING
    await until(house.world, created.session.id, lambda one: one.status is SessionStatus.WAITING_INPUT, "ready")


@pytest.mark.parametrize("request_", [CreateRequest(limits={"cpus": 99}), CreateRequest(timing={"nap_s": 1})])
async def test_a_bad_wish_makes_nothing(house: House, request_: CreateRequest) -> None:
    with pytest.raises(InvalidRequestError):
        await house.commands.create(ALICE, request_, idempotency=None, wait=True)
    assert not house.world.store.sessions


async def test_a_refused_start_fails_with_its_reason(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise RefusedError("docker", "there is no such image")

    monkeypatch.setattr(house.world.machine, "start", refuse)
    with pytest.raises(StartFailedError, match="no such image"):
        await house.create()
    (session,) = house.world.store.sessions.values()
    assert (session.status, session.failure.phase) == (SessionStatus.FAILED, "creating")


# --- talking


@pytest.mark.parametrize("presence", [Presence.PAUSED, Presence.HIBERNATED])
async def test_input_wakes_a_sleeper(house: House, presence: Presence) -> None:
    session_id = await house.asleep(presence)
    await house.input(session_id)
    await until(house.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    types = [event.type for event in await house.world.store.events(session_id, 0, 100)]
    assert types.count("session.resumed") == 1


@pytest.mark.parametrize("presence", list(Presence))
async def test_one_input_id_is_executed_once_however_often_it_comes(house: House, presence: Presence) -> None:
    session_id = await house.create() if presence is Presence.AWAKE else await house.asleep(presence)
    seqs = await asyncio.gather(*(house.input(session_id, "go", "same") for _ in range(20)))
    assert len(set(seqs)) == 1
    assert house.world.machine.disks[session_id].executed == ["same"]


async def test_a_sleeper_without_a_slot_is_told_so_and_sleeps_on(house: House) -> None:
    session_id = await house.asleep(Presence.HIBERNATED)
    for _ in range(3):
        await house.create()
    with pytest.raises(CapacityError):
        await house.input(session_id)
    assert (await house.record(session_id)).presence is Presence.HIBERNATED


async def test_limits_of_output_reach_the_runner_when_they_are_chosen(house: House) -> None:
    plain = house.runner(await house.create()).told
    assert plain is not None
    assert "output_limits" not in plain.model_fields_set, "a runner of an earlier image would refuse it"
    defaults = house.commands._defaults
    ceiling = replace(defaults.ceiling, output_bytes=2**30, output_bytes_per_s=2**20)
    house.commands._defaults = replace(defaults, ceiling=ceiling)
    wanted = CreateRequest(limits={"output_bytes": 2**20, "output_bytes_per_s": 4096})
    created = await house.commands.create(ALICE, wanted, idempotency=None, wait=True)
    told = house.runner(created.session.id).told
    assert told is not None
    assert told.output_limits == OutputLimits(total_bytes=2**20, bytes_per_s=4096)


async def test_the_first_input_to_an_awake_session_does_not_ask_the_engine(house: House) -> None:
    session_id = await house.create()
    house.world.machine.away = True
    async with asyncio.timeout(1):
        assert await house.input(session_id, input_id="i")
    house.world.machine.away = False
    assert "i" in house.runner(session_id).inputs


async def test_waiting_for_the_result(house: House) -> None:
    session_id = await house.create()
    call = asyncio.ensure_future(house.commands.input(ALICE, session_id, "go", input_id="i", wait_s=30))
    await until(house.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    await house.runner(session_id).finish()
    accepted = await call
    assert accepted.result is not None
    assert accepted.result["result"] == "done"
    late = await house.commands.input(ALICE, session_id, "go on", input_id="j", wait_s=5)
    assert late.result is None


async def test_an_accepted_input_is_no_failure_when_its_result_cannot_be_read(house: House) -> None:
    session_id = await house.create()
    call = asyncio.ensure_future(house.commands.input(ALICE, session_id, "go", input_id="i", wait_s=60))
    await until(house.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    house.world.store.away = True
    accepted = await call
    assert (accepted.input_id, accepted.result) == ("i", None)
    house.world.store.away = False
    assert house.world.machine.disks[session_id].executed == ["i"]


@pytest.mark.parametrize("late_s", [0.01, 3.0])
async def test_waiting_for_the_result_reads_nothing_that_was_said_before(late_s: float) -> None:
    store = LateStore()
    house = House(World(store=store))
    await house.manager.start()
    session_id = await house.create()
    for _ in range(50):
        last = await house.runner(session_id).say(EventKind.ERROR, {"code": "x", "message": "y"})
    await until(house.world, session_id, lambda one: one.output_seq == last, "stored")
    store.late_s = late_s
    house.world.live.away = True  # so that all is read from the store
    call = asyncio.ensure_future(house.commands.input(ALICE, session_id, "go", input_id="i", wait_s=30))
    await until(house.world, session_id, lambda one: one.status is SessionStatus.ACTIVE, "active")
    await house.runner(session_id).finish()
    accepted = await call
    assert accepted.result is not None
    assert accepted.result["result"] == "done"
    assert min(store.read_after) == accepted.seq == last + 1
    await house.manager.kill()


@pytest.mark.parametrize(
    ("text", "error"),
    [("", InvalidRequestError), (" \n", InvalidRequestError), ("x" * (MAX_INPUT_BYTES + 1), TooLargeError)],
)
async def test_bad_input_is_refused(house: House, text: str, error: type[Exception]) -> None:
    session_id = await house.create()
    with pytest.raises(error):
        await house.input(session_id, text)


async def test_permissions_are_listed_and_answered_once(house: House) -> None:
    session_id = await house.create("go")
    asked = Pending(request_id="r", waiting_for=Waits.PERMISSION, tool="Bash", title="t", input={"command": "ls"})
    await house.runner(session_id).ask(asked)
    await until(house.world, session_id, lambda one: one.waiting_for is WaitingFor.PERMISSION, "asked")
    assert list(await house.queries.permissions(ALICE, session_id)) == [asked]
    answer = PermissionAnswer(decision="allow")
    assert await house.commands.answer(ALICE, session_id, "r", answer) > 0
    with pytest.raises(AlreadyAnsweredError):
        await house.commands.answer(ALICE, session_id, "r", answer)
    with pytest.raises(UnknownRequestError):
        await house.commands.answer(ALICE, session_id, "other", answer)
    await until(house.world, session_id, lambda one: not one.pending, "answered")
    resolved = await house.world.store.output(session_id, 0, 100, ["permission_resolved"])
    assert [each.data["by"] for each in resolved] == [ALICE.subject]


async def test_an_end_is_a_revocation_at_the_gateway_before_the_sandbox_is_gone(house: House) -> None:
    session_id = await house.create("go")
    await house.commands.delete(ALICE, session_id, reason="deleted", wait=True)
    assert house.world.gateway.revoked == [sandbox_key(session_id, 1)]


async def test_interrupting_never_wakes(house: House) -> None:
    awake, asleep = await house.create("go"), await house.asleep(Presence.PAUSED)
    for session_id in (awake, asleep):
        await house.commands.interrupt(ALICE, session_id)
    assert house.runner(awake).interrupts == 1
    assert (await house.record(asleep)).presence is Presence.PAUSED


# --- ending, resuming, restarting: each in every state


STATES = ["initializing", "active", "waiting", "frozen", "hibernated", "terminated", "failed"]


async def in_state(house: House, state: str) -> UUID:
    match state:
        case "initializing":
            return (await house.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)).session.id
        case "active":
            return await house.create("go")
        case "waiting":
            return await house.create()
        case "frozen" | "hibernated":
            return await house.asleep(Presence(state))
        case _:
            session_id = await house.create()
            await house.runner(session_id).end(0 if state == "terminated" else 1)
            await until(house.world, session_id, lambda one: one.ended, state)
            return session_id


@pytest.mark.parametrize("state", STATES)
async def test_deleting_is_possible_always_and_twice(house: House, state: str) -> None:
    session_id = await in_state(house, state)
    await asyncio.gather(*(house.commands.delete(ALICE, session_id, reason="r", wait=True) for _ in range(3)))
    session = await house.record(session_id)
    assert session.status is (SessionStatus.FAILED if state == "failed" else SessionStatus.TERMINATED)
    async with asyncio.timeout(60):
        while house.world.machine.sandbox(session_id) or session_id in house.world.edge.published:
            await asyncio.sleep(0.1)
    types = [event.type for event in await house.world.store.events(session_id, 0, 100)]
    assert types.count("session.terminated") + types.count("session.failed") == 1
    with pytest.raises(SessionEndedError):
        await house.input(session_id)
    with pytest.raises(SessionEndedError):
        await house.commands.token(ALICE, session_id, frozenset({Scope.READ}))


@pytest.mark.parametrize("state", STATES)
async def test_resuming_is_for_the_ended(house: House, state: str) -> None:
    session_id = await in_state(house, state)
    if state not in {"terminated", "failed"}:
        with pytest.raises(ConflictError):
            await house.commands.resume(ALICE, session_id, wait=True)
        return
    results = await asyncio.gather(
        *(house.commands.resume(ALICE, session_id, wait=True) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 2
    session = await house.record(session_id)
    assert (session.status, session.generation) == (SessionStatus.WAITING_INPUT, 2)
    told = house.runner(session_id).told
    assert told is not None
    assert told.resume


async def test_nothing_is_resumed_without_its_workspace(house: House) -> None:
    session_id = await in_state(house, "terminated")
    await house.world.machine.erase(session_id)
    with pytest.raises(ConflictError, match="workspace"):
        await house.commands.resume(ALICE, session_id, wait=True)


@pytest.mark.parametrize("how", ["wake", "restart", "crash"])
async def test_a_lost_workspace_ends_the_session_with_that_reason(house: House, how: str) -> None:
    machine = house.world.machine
    if how == "wake":
        session_id = await house.asleep(Presence.HIBERNATED)
        await machine.erase(session_id)
        with pytest.raises(SessionEndedError):
            await house.input(session_id)
    else:
        session_id = await in_state(house, "waiting")
        del machine.volumes[session_id]
        await (house.commands.restart(ALICE, session_id) if how == "restart" else machine.kill(session_id))
    await until(house.world, session_id, lambda one: one.ended, "ended")
    lost = await house.record(session_id)
    assert (lost.status, lost.end_reason) == (SessionStatus.FAILED, "workspace_lost")
    assert lost.failure is not None
    assert "workspace" in lost.failure.message
    assert session_id not in machine.volumes, "no empty one took its place"
    with pytest.raises(ConflictError, match="workspace"):
        await house.commands.resume(ALICE, session_id, wait=True)


@pytest.mark.parametrize("state", STATES)
async def test_restarting_is_for_those_with_an_agent(house: House, state: str) -> None:
    session_id = await in_state(house, state)
    if state not in {"active", "waiting"}:
        with pytest.raises(ConflictError):
            await house.commands.restart(ALICE, session_id)
        return
    before = await house.record(session_id)
    after = await house.commands.restart(ALICE, session_id)
    assert (after.generation, after.restarts) == (before.generation + 1, before.restarts)
    assert after.container_id not in {None, before.container_id}
    await until(house.world, session_id, lambda one: one.status is SessionStatus.WAITING_INPUT, "waiting")


# --- changing and looking


@pytest.mark.parametrize("state", ["active", "waiting", "frozen", "hibernated", "terminated"])
async def test_changes_are_kept_and_reach_the_agent(house: House, state: str) -> None:
    session_id = await in_state(house, state)
    changes = Changes(title="t", metadata={"a": 1}, archived=True, timeout_s=60, model="opus", permission_mode="plan")
    changed = (await house.commands.change(ALICE, session_id, changes)).session
    assert (changed.title, changed.metadata, changed.archived) == ("t", {"a": 1}, True)
    assert (changed.spec.timing.timeout_s, changed.spec.model, changed.spec.permission_mode) == (60, "opus", "plan")
    if state in {"active", "waiting", "frozen"}:
        assert house.runner(session_id).model == "opus"


async def test_a_session_whose_rest_is_put_off_does_not_rest(house: House) -> None:
    session_id = await house.create(timing=SLEEPY)
    await house.commands.change(ALICE, session_id, Changes(idle_after_s=1000, hibernate_after_s=2000))
    await asyncio.sleep(900)
    assert (await house.record(session_id)).presence is Presence.AWAKE
    await house.commands.change(ALICE, session_id, Changes(hibernate_after_s=5))
    await until(house.world, session_id, lambda one: one.presence is Presence.HIBERNATED, "hibernated")


async def test_everybody_sees_what_is_theirs(house: House) -> None:
    session_id = await house.create()
    for caller in (ALICE, ADMIN, READER):
        assert (await house.queries.get(caller, session_id)).id == session_id
        assert (await house.queries.list(caller, ListQuery()))[1] == 1
    assert (await house.queries.list(BOB, ListQuery()))[1] == 0
    for call in (
        house.queries.get(BOB, session_id),
        house.commands.delete(BOB, session_id, reason="r", wait=False),
        house.commands.input(BOB, session_id, "go", input_id=None, wait_s=None),
        house.commands.restart(BOB, session_id),
        house.commands.change(BOB, session_id, Changes(title="t")),
        house.queries.output(BOB, session_id, 0, 10, ()),
        house.queries.get(ALICE, uuid4()),
    ):
        with pytest.raises(UnknownSessionError):
            await call
    with pytest.raises(ForbiddenError):
        await house.commands.delete(READER, session_id, reason="r", wait=False)
    stats = await house.queries.stats(ALICE)
    assert (stats.to_mapping()["total"], stats.slots_used, stats.slots_total) == (1, 1, 3)


async def test_a_restarted_managers_cache_does_not_lie(house: House) -> None:
    session_id = await house.create()
    house.world.records.away = True
    await house.commands.change(ALICE, session_id, Changes(title="new"))
    house.world.records.away = False
    assert (await house.queries.get(ALICE, session_id)).title == "new"
    house.world.records.wipe()
    assert (await house.queries.get(ALICE, session_id)).title == "new"
    assert replace(await house.record(session_id)) == await house.queries.get(ALICE, session_id)


@pytest.mark.parametrize("state", ["waiting", "frozen"])
async def test_an_option_that_needs_it_restarts_the_agent_and_says_so(house: House, state: str) -> None:
    session_id = await in_state(house, state)
    before = (await house.record(session_id)).generation
    changes = Changes(
        model="opus",
        system_prompt="Be brief.",
        mcp_servers={"m": {"command": "x"}},
        options={"effort": "low", "tools": ["Read"]},
    )
    changed = await house.commands.change(ALICE, session_id, changes)
    assert changed.restarted_for == ("mcp_servers", "system_prompt", "tools")
    assert changed.session.generation == before + 1
    assert changed.session.container_id is not None
    told = house.runner(session_id).told
    assert told is not None
    assert told.resume
    assert (told.options.system_prompt, told.options.tools, told.options.effort) == ("Be brief.", ["Read"], "low")
    assert "m" in told.options.mcp_servers


async def test_an_option_that_changes_live_restarts_nothing(house: House) -> None:
    session_id = await in_state(house, "active")
    changes = Changes(answer_within_s=60, options={"effort": "high"})
    changed = await house.commands.change(ALICE, session_id, changes)
    assert changed.restarted_for == ()
    assert changed.session.spec.options == {"effort": "high"}
    assert house.runner(session_id).changes == [("effort", "high"), ("answer_within", 60)]


async def test_a_running_turn_is_not_lost_for_an_option(house: House) -> None:
    session_id = await in_state(house, "active")
    with pytest.raises(ConflictError, match="tools: needs a restart"):
        await house.commands.change(ALICE, session_id, Changes(options={"tools": []}))
    assert (await house.record(session_id)).spec.options == {}


@pytest.mark.parametrize("state", ["hibernated", "terminated"])
async def test_a_session_without_an_agent_takes_options_at_its_next_start(house: House, state: str) -> None:
    session_id = await in_state(house, state)
    changed = await house.commands.change(ALICE, session_id, Changes(options={"tools": ["Read"]}))
    assert (changed.restarted_for, changed.session.spec.options) == ((), {"tools": ["Read"]})


async def test_a_change_is_checked_against_the_profile_of_the_create(house: House) -> None:
    profile = Profile("small", fixed={"model": "haiku"}, ceiling=Ceiling(permission_modes=("default",), max_turns=5))
    created = await house.commands.create(ALICE, CreateRequest(profile=profile), idempotency=None, wait=True)
    for changes, field in (
        (Changes(model="opus"), "model: is fixed"),
        (Changes(permission_mode="plan"), "permission_mode: must be one of default"),
        (Changes(max_turns=9), "max_turns: must be at most 5"),
        (Changes(options={"repository_hooks": True}), "repository_hooks: is not allowed"),
    ):
        with pytest.raises(InvalidRequestError, match=field):
            await house.commands.change(ALICE, created.session.id, changes)
    told = house.runner(created.session.id).told
    assert told is not None
    assert told.options.permission_modes == ["default"]
    assert told.options.setting_sources == ["project"]


async def test_commands_are_those_of_an_agent_that_runs(house: House) -> None:
    session_id = await in_state(house, "waiting")
    assert [each.name for each in await house.commands.slash_commands(ALICE, session_id)] == ["compact"]
    asleep = await in_state(house, "hibernated")
    with pytest.raises(ConflictError, match="not awake"):
        await house.commands.slash_commands(ALICE, asleep)
