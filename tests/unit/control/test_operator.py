"""What operators change while managers run, and the audit log that says who did."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jelmore.control import audit
from jelmore.control.access import Access
from jelmore.control.audit import AuditLog
from jelmore.control.operator import DRAINING, Operator
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults
from jelmore.ports import ApiKey, KeyRights, Role
from jelmore.ports.operator import AuditEntry, AuditQuery, LiveValue
from jelmore.session.errors import (
    ConflictError,
    DependencyError,
    DrainingError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
)
from jelmore.session.limits import Limits
from jelmore.session.record import Timing
from jelmore.session.states import SessionStatus
from tests.fakes.memory_store import MemoryStore
from tests.support.records import MOMENT, created

ADMIN = Caller(ApiKey("admin", "admin", Role.ADMIN, MOMENT))
CLIENT = Caller(ApiKey("client", "client", Role.CLIENT, MOMENT))
ENTRY = AuditEntry(
    at=MOMENT, actor="a", actor_name="A", action="create_key", target="/", outcome="201", remote="", request_id="r"
)


class MemoryOperator:
    """The `OperatorStore` port in memory."""

    def __init__(self) -> None:
        self.live: dict[str, LiveValue] = {}
        self.age_s = 60.0  # of every change, by the clock of the database
        self.entries: list[AuditEntry] = []
        self.digests: dict[str, str] = {}
        self.away = False
        self.trimmed = 0

    async def make_key(
        self, key_id: str, name: str, rights: KeyRights, digest: str, *, ttl_s: float | None, created_by: str
    ) -> ApiKey:
        self.digests[key_id] = digest
        return ApiKey(
            key_id, name, rights.role, MOMENT, created_by=created_by, user_id=rights.user_id, act_as=rights.act_as
        )

    async def set_act_as(self, key_id: str, *, act_as: bool) -> ApiKey | None:
        return ApiKey(key_id, "k", Role.CLIENT, MOMENT, act_as=act_as) if key_id in self.digests else None

    async def rotate_key(self, key_id: str, digest: str, *, former_for_s: float) -> ApiKey | None:
        if key_id not in self.digests:
            return None
        self.digests[key_id] = digest
        return ApiKey(key_id, "rotated", Role.CLIENT, MOMENT)

    async def live_settings(self) -> Mapping[str, LiveValue]:
        return dict(self.live)

    async def set_live(self, name: str, value: Any, changed_by: str) -> None:
        if value is None:
            self.live.pop(name, None)
        else:
            self.live[name] = LiveValue(value, MOMENT, changed_by, self.age_s)

    async def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        await asyncio.sleep(0.01)
        if self.away:
            raise DependencyError("postgres", "away")
        self.entries += entries

    async def audit(self, query: AuditQuery) -> Sequence[AuditEntry]:
        return self.entries[query.after : query.after + query.limit]

    async def trim_audit(self, max_age_s: float) -> None:
        self.trimmed += 1


class World:
    """An operator of one manager, with what it changes."""

    def __init__(self) -> None:
        self.rows, self.store, self.levels = MemoryOperator(), MemoryStore(), list[str]()
        self.defaults = Defaults(Limits(), Limits(), Timing(), 3, 5, 5)
        self.operator = self.another()

    def another(self) -> Operator:
        """Return the operator of one more manager of the same installation."""
        access = Access(self.store, token_ttl_s=60)
        return Operator(
            self.rows, self.store, access, self.defaults, log_level="info", set_log_level=self.levels.append
        )


async def test_a_change_reaches_every_manager_and_goes_back() -> None:
    world = World()
    await world.another().change(ADMIN, {"max_sessions": 9, "log_level": "debug"})
    running = asyncio.create_task(world.operator.run(), name="operator")
    await asyncio.sleep(2)
    running.cancel()
    assert (world.defaults.most_live, world.levels) == (9, ["debug", "debug"])
    shown = await world.operator.settings(ADMIN)
    assert shown["max_sessions"][:2] == (9, 3)
    await world.operator.change(ADMIN, {"max_sessions": None, "log_level": None})
    assert (world.defaults.most_live, world.levels[-1]) == (3, "info")
    with pytest.raises(InvalidRequestError, match="cpus"):
        await world.operator.change(ADMIN, {"cpus": 1})


async def test_a_drain_waits_until_no_turn_runs_and_is_undone() -> None:
    world = World()
    session = await created(world.store)
    session = await world.store.save(replace(session, status=SessionStatus.ACTIVE), [])
    report = await world.operator.drain(ADMIN, wait_s=5)
    assert (report.draining, report.active_turns, list(report.sessions)) == (True, 1, [session.id])
    with pytest.raises(DrainingError):
        world.defaults.check_not_draining()
    waiting = asyncio.create_task(world.operator.drain(ADMIN, wait_s=60), name="drain")
    await asyncio.sleep(1)
    assert not waiting.done()
    await world.store.save(replace(session, status=SessionStatus.WAITING_INPUT), [])
    report = await waiting
    assert (report.active_turns, report.drained) == (0, True)
    assert not (await world.operator.undo_drain(ADMIN)).draining
    world.defaults.check_not_draining()


async def test_a_drain_waits_for_sessions_that_start_and_until_every_manager_knows() -> None:
    world = World()
    session = await created(world.store)  # a create that was accepted before: its turn begins in a second
    waiting = asyncio.create_task(world.operator.drain(ADMIN, wait_s=60), name="drain")
    await asyncio.sleep(1)
    assert not waiting.done()
    assert not (await world.operator.drained(ADMIN)).drained
    await world.store.save(replace(session, status=SessionStatus.WAITING_INPUT), [])
    assert (await waiting).drained
    world.rows.live[DRAINING] = LiveValue(True, datetime.now(UTC) - timedelta(hours=1), "admin", 0.5)
    report = await world.operator.drained(ADMIN)
    assert (report.active_turns, report.drained) == (0, False), "another manager may take a turn for a second"


async def test_keys_are_made_rotated_and_revoked_by_admins() -> None:
    world = World()
    made = await world.operator.make_key(ADMIN, "ci", KeyRights(Role.CLIENT), None)
    assert (await world.operator.set_act_as(ADMIN, made.key.id, act_as=True)).act_as
    with pytest.raises(NotFoundError):
        await world.operator.set_act_as(ADMIN, "unknown", act_as=True)
    rotated = await world.operator.rotate_key(ADMIN, made.key.id, former_for_s=0)
    assert (rotated.key.id, rotated.text != made.text) == (made.key.id, True)
    await world.store.add_key(ApiKey("first", "from JELMORE_API_KEY", Role.ADMIN, MOMENT), "digest")
    assert [key.id for key in await world.operator.keys(ADMIN)] == ["first"]
    with pytest.raises(ConflictError, match="JELMORE_API_KEY"):
        await world.operator.rotate_key(ADMIN, "first", former_for_s=0)
    with pytest.raises(NotFoundError):
        await world.operator.rotate_key(ADMIN, "unknown", former_for_s=0)
    with pytest.raises(ConflictError):
        await world.operator.revoke_key(ADMIN, "admin")
    await world.operator.revoke_key(ADMIN, "first")
    with pytest.raises(NotFoundError):
        await world.operator.revoke_key(ADMIN, "first")
    for call in (
        world.operator.keys(CLIENT),
        world.operator.settings(CLIENT),
        world.operator.drain(CLIENT, wait_s=0),
        world.operator.undo_drain(CLIENT),
    ):
        with pytest.raises(ForbiddenError):
            await call


async def test_the_audit_log_keeps_its_order_and_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_WAITING", 5)
    rows = MemoryOperator()
    log = AuditLog(rows, keep_s=60)
    running = asyncio.create_task(log.run(), name="audit")
    for number in range(3):
        log.note(replace(ENTRY, target=str(number)))
    assert [entry.target for entry in await log.read(ADMIN, AuditQuery(0, 10))] == ["0", "1", "2"]
    running.cancel()
    assert rows.trimmed == 1
    rows.away = True
    for number in range(7):
        log.note(replace(ENTRY, target=str(3 + number)))
    with pytest.raises(DependencyError):
        await log.write()
    await log.close()
    rows.away = False
    await log.write()
    assert [entry.target for entry in rows.entries] == ["0", "1", "2", "5", "6", "7", "8", "9"]
    assert log.dropped == 2
    with pytest.raises(ForbiddenError):
        await log.read(CLIENT, AuditQuery(0, 10))


@pytest.mark.parametrize(
    ("rights", "field"),
    [
        (KeyRights(Role.ADMIN, "ann"), "user_id: is for client keys"),
        (KeyRights(Role.READONLY, act_as=True), "act_as: is for client keys"),
        (KeyRights(Role.CLIENT, "ann", act_as=True), "act_as: a key of one user"),
    ],
)
async def test_rights_that_do_not_go_together_are_refused_by_field(rights: KeyRights, field: str) -> None:
    with pytest.raises(InvalidRequestError, match=field):
        await World().operator.make_key(ADMIN, "ci", rights, None)
