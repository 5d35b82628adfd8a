"""Access, health, the prober and leadership: who may come in, what works, and who looks after it."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from jelmore.control.access import Access, EndedTokenError, new_key
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.health import Health
from jelmore.control.leadership import LeaderTask
from jelmore.control.requests import CreateRequest
from jelmore.control.revocations import Revocations
from jelmore.control.tasks import Tasks
from jelmore.ports import ControlAddress, Role, SandboxSpec
from jelmore.session.errors import DependencyError, ForbiddenError, UnauthenticatedError, UnknownSessionError
from jelmore.session.limits import Limits
from jelmore.session.record import Detail, Session
from jelmore.session.states import Fact, SessionStatus
from jelmore_protocol.tokens import Scope
from tests.fakes.memory_leases import LeaseTable, MemoryLeases
from tests.fakes.memory_store import MemoryStore
from tests.fakes.runners import FakeRunners
from tests.fakes.sandboxes import FakeSandboxes
from tests.support.records import MOMENT, new_session
from tests.unit.control.crashing import Fuse, guard
from tests.unit.control.machine import Machine
from tests.unit.control.world import ADMIN, ALICE, BOB, READER, Manager, World

BOTH = frozenset({Scope.READ, Scope.WRITE})


async def opened(store: MemoryStore, fuse: Fuse | None = None) -> Access:
    counting = guard(store, "store", fuse or Fuse())
    access = Access(counting, token_ttl_s=60)
    await access.open("first-key-of-all")
    return access


async def stored(store: MemoryStore) -> Session:
    session, _ = await store.create(new_session(container_id="c"), [], most_live=9, idempotency=None)
    ready, drafts = session.after(Fact.READY, MOMENT, Detail(container_id="c"))
    return await store.save(ready, drafts)


# --- access


async def test_a_key_is_refused_as_soon_as_it_is_revoked() -> None:
    store = MemoryStore()
    access = await opened(store)
    assert (await access.keys.caller("first-key-of-all")).key.role is Role.ADMIN
    key = new_key()
    made = await access.keys.add(key, "bob", Role.CLIENT)
    assert (await access.keys.caller(key)).key.id == made.id
    await store.revoke_key(made.id)
    with pytest.raises(UnauthenticatedError):
        await access.keys.caller(key)


async def test_another_first_key_ends_the_one_before() -> None:
    store = MemoryStore()
    await opened(store)
    access = await opened(store)
    bobs = new_key()
    await access.keys.add(bobs, "bob", Role.ADMIN)
    await access.open("second-key-of-all")
    with pytest.raises(UnauthenticatedError):
        await access.keys.caller("first-key-of-all")
    for key in ("second-key-of-all", bobs):
        assert (await access.keys.caller(key)).key.role is Role.ADMIN


async def test_a_session_token_ends_with_its_key_and_its_session() -> None:
    store = MemoryStore()
    access, session = await opened(store), await stored(store)
    key = await access.keys.add(new_key(), "bob", Role.CLIENT)
    claims = access.session_tokens.claims(access.session_tokens.issue(session, BOTH, key.id).token, session.id)
    others = replace(claims, subject="another")
    await access.session_tokens.caller(claims, session.id)
    await store.revoke_key(key.id)
    with pytest.raises(UnauthenticatedError):
        await access.session_tokens.caller(claims, session.id)
    await access.session_tokens.caller(others, session.id)
    await store.save(session.ending(MOMENT, "deleted"), [])
    with pytest.raises(EndedTokenError):
        await access.session_tokens.caller(others, session.id)


async def test_a_session_token_ends_with_its_rotation_and_with_a_resumption() -> None:
    store = MemoryStore()
    access, session = await opened(store), await stored(store)
    first = access.session_tokens.claims(access.session_tokens.issue(session, BOTH, "me").token, session.id)
    waiting = access.revocation.next
    rotated = await store.save(session.with_tokens_rotated(datetime.now(UTC)), [])
    access.revocation.note_rotated(await store.rotated_tokens(datetime.now(UTC) - timedelta(minutes=1)))
    assert waiting.is_set()
    waiting = access.revocation.next
    access.revocation.note_rotated({session.id: 1})
    assert not waiting.is_set(), "said already"
    with pytest.raises(UnauthenticatedError, match="replaced"):
        await access.session_tokens.caller(first, session.id)
    second = access.session_tokens.claims(access.session_tokens.issue(rotated, BOTH, "me").token, session.id)
    await access.session_tokens.caller(second, session.id)
    ended = await store.save(replace(rotated, status=SessionStatus.TERMINATED, ended_at=MOMENT), [])
    resumed = await store.save(*ended.after(Fact.RESUMED, datetime.now(UTC)))
    with pytest.raises(UnauthenticatedError, match="replaced"):
        await access.session_tokens.caller(second, session.id)
    await access.session_tokens.caller(
        access.session_tokens.claims(access.session_tokens.issue(resumed, BOTH, "me").token, session.id), session.id
    )


async def test_a_rotation_is_sent_to_runners_once() -> None:
    store, runners, engine = MemoryStore(), FakeRunners(), FakeSandboxes()
    access, session = await opened(store), await stored(store)
    await engine.start(SandboxSpec(session.id, session.generation, Limits()))
    runner = runners.add(engine.control(session.id))

    async def control_of(of: Session) -> ControlAddress:
        return engine.control(of.id)

    following = {session.id: session.generation}
    revocations = Revocations(store, runners, access, control_of, lambda: following, token_ttl_s=60)
    await revocations.publish()
    await store.save(session.with_tokens_rotated(datetime.now(UTC)), [])
    await revocations.publish()
    assert (runner.token_epoch, runner.revoked) == (1, set())
    runner.token_epoch = 0
    await revocations.publish()
    assert runner.token_epoch == 0, "published already"


async def test_each_revoked_key_is_sent_to_runners_once_and_all_to_new_containers() -> None:
    store, runners, engine = MemoryStore(), FakeRunners(), FakeSandboxes()
    access, session = await opened(store), await stored(store)
    await engine.start(SandboxSpec(session.id, session.generation, Limits()))
    runner = runners.add(engine.control(session.id))
    runner.is_strict = True  # as long as no token was rotated, a runner of version 1 understands it

    async def control_of(of: Session) -> ControlAddress:
        return engine.control(of.id)

    following = {session.id: session.generation}
    revocations = Revocations(store, runners, access, control_of, lambda: following, token_ttl_s=60)
    waiting = access.revocation.next
    await revocations.publish()
    assert not waiting.is_set()
    key = await access.keys.add(new_key(), "bob", Role.CLIENT)
    await store.revoke_key(key.id)
    await revocations.publish()
    assert waiting.is_set()
    assert not access.revocation.next.is_set()
    assert runner.revoked == {key.id}
    runner.revoked.clear()
    await revocations.publish()
    assert not runner.revoked, "published already"
    lost, drafts = session.after(Fact.CONTAINER_LOST, MOMENT, Detail(reason="restart"))
    lost, drafts = (await store.save(lost, drafts)), []
    again = await store.save(replace(lost, generation=lost.generation + 1), drafts)
    following[session.id] = again.generation
    await revocations.publish()
    assert runner.revoked == {key.id}


async def test_runners_that_hang_do_not_delay_the_revocations_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    store, runners = MemoryStore(), FakeRunners()
    access, session = await opened(store), await stored(store)
    asked: list[float] = []

    async def hang(_: Session) -> ControlAddress:
        asked.append(time.monotonic())
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)
    revocations = Revocations(store, runners, access, hang, lambda: {session.id: session.generation}, token_ttl_s=60)
    key = await access.keys.add(new_key(), "bob", Role.CLIENT)
    await store.revoke_key(key.id)
    looks = 0
    end = time.monotonic() + 60
    while time.monotonic() < end:
        await revocations.publish()
        looks += 1
        await asyncio.sleep(0.5)
    assert len(asked) <= 6  # it was every four seconds
    assert looks > 90  # each call waits for two seconds


@pytest.mark.parametrize("key", [None, "", "jlm_unknown", "first-key-of-al"])
async def test_other_keys_are_refused(key: str | None) -> None:
    access = await opened(MemoryStore())
    with pytest.raises(UnauthenticatedError):
        await access.keys.caller(key)


async def test_roles_see_and_do_what_they_may() -> None:
    mine = new_session(owner=ALICE.key.id)
    for caller in (ALICE, ADMIN, READER):
        assert caller.sees(mine) is mine
    with pytest.raises(UnknownSessionError):
        BOB.sees(mine)
    for caller in (ALICE, BOB, ADMIN):
        caller.check_may_write()
    with pytest.raises(ForbiddenError):
        READER.check_may_write()
    ADMIN.check_admin()
    for caller in (ALICE, READER):
        with pytest.raises(ForbiddenError):
            caller.check_admin()
    assert [caller.sees_only for caller in (ALICE, ADMIN, READER)] == [ALICE.key.id, None, None]


async def test_a_session_token_opens_the_url_of_one_session_only() -> None:
    store = MemoryStore()
    access, session = await opened(store), await stored(store)
    token = access.session_tokens.issue(session, frozenset({Scope.READ}), "me").token
    claims = access.session_tokens.claims(token, session.id)
    assert (claims.scopes, claims.subject) == (frozenset({Scope.READ}), "me")
    reader = await access.session_tokens.caller(claims, session.id)
    assert reader.sees(session) is session
    with pytest.raises(ForbiddenError):
        reader.check_may_write()
    writer = await access.session_tokens.caller(replace(claims, scopes=BOTH), session.id)
    writer.check_may_write()
    with pytest.raises(UnknownSessionError):
        writer.sees(new_session(owner="another"))
    with pytest.raises(ForbiddenError):
        access.session_tokens.claims(token, uuid4())
    with pytest.raises(ForbiddenError):
        access.session_tokens.claims(access.gateway_tokens.issue(session), session.id)
    for bad in (None, "", "x.y.z", token[:-4] + "AAAA"):
        with pytest.raises(UnauthenticatedError):
            access.session_tokens.claims(bad, session.id)


# --- health


async def fine() -> None:
    """Answer."""


async def away() -> None:
    raise DependencyError("it", "away")


async def hangs() -> None:
    await asyncio.Future()


def disk() -> DiskCapacity:
    return DiskCapacity(0, Machine())


@pytest.mark.parametrize(
    ("checks", "status", "degraded"),
    [
        ({"postgres": fine, "redis": fine}, "ok", []),
        ({"postgres": fine, "redis": away}, "degraded", ["redis"]),
        ({"postgres": fine, "caddy": hangs, "nats": away}, "degraded", ["caddy", "nats"]),
        ({"postgres": away, "redis": away}, "down", ["postgres", "redis"]),
        ({"sandboxes": hangs}, "down", ["sandboxes"]),
    ],
)
async def test_health_names_what_does_not_answer(checks: dict[str, object], status: str, degraded: list[str]) -> None:
    health = Health(checks, dict, disk(), version="1")  # type: ignore[arg-type]
    health.ready.set()
    began = asyncio.get_running_loop().time()
    report = await health.report()
    assert (report["status"], report["degraded"]) == (status, degraded)
    assert asyncio.get_running_loop().time() - began < 4, "one that hangs holds nobody up"
    assert set(report["checks"]) == {*checks, "disk"}


async def test_health_is_asked_once_a_second_however_many_ask() -> None:
    asked = 0

    async def count() -> None:
        nonlocal asked
        asked += 1

    health = Health({"postgres": count}, dict, disk(), version="1")
    assert not health.ready.is_set()
    reports = await asyncio.gather(*(health.report() for _ in range(50)))
    assert asked == 1
    assert reports[0]["status"] == "degraded", "it has not looked at every session yet"
    await asyncio.sleep(1.1)
    await health.report()
    assert asked == 2


# --- the prober


async def test_a_silent_runner_is_restarted_after_the_threshold_and_not_before() -> None:
    world = World()
    manager = Manager(world)
    await manager.start()
    created = await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=True)
    session_id = created.session.id
    at = world.machine.control(session_id)
    await manager.prober.probe_all()
    assert (await world.store.probes(session_id))[0].healthy
    world.machine.runners.silent.add(at)
    for failed in (1, 2):
        await manager.prober.probe_all()
        assert manager.prober.failed(session_id) == failed
    world.machine.runners.silent.discard(at)
    await manager.prober.probe_all()
    assert manager.prober.failed(session_id) == 0, "one answer forgets the failures"
    world.machine.runners.silent.add(at)
    for _ in range(3):
        await manager.prober.probe_all()
    async with asyncio.timeout(60):
        while (await world.store.load(session_id)).generation != 2:
            await asyncio.sleep(0.1)
    await manager.kill()


# --- leadership


async def test_a_loop_has_one_leader_and_a_successor() -> None:
    ran: list[str] = []
    table, store, tasks = LeaseTable(), MemoryStore(), [Tasks(), Tasks()]

    def body(name: str) -> LeaderTask:
        async def note() -> None:
            ran.append(name)

        return LeaderTask("sweep", note, MemoryLeases(store, table, name), every_s=10)

    for name, owner in zip("ab", tasks, strict=True):
        owner.keep(name, body(name).run)
    await asyncio.sleep(95)
    assert set(ran) == {"a"}
    assert 8 <= len(ran) <= 11
    await tasks[0].close()
    await asyncio.sleep(95)
    assert ran[-5:] == ["b"] * 5
    await tasks[1].close()
