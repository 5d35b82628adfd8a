"""Two managers report to each other who has a session open, with and without Redis."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from jelmore.control.attendance import AttendanceKeeper
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.requests import Caller
from jelmore.control.tasks import Tasks
from jelmore.ports import ApiKey, Role
from jelmore.session import attendance as rules
from tests.fakes.memory_attendance import MemoryAttendance
from tests.fakes.memory_live_output import MemoryLiveOutput
from tests.support.waiting import until

SESSION = uuid4()


def caller(name: str, role: Role = Role.CLIENT, *, participant: bool = False, approver: bool = False) -> Caller:
    key = ApiKey(f"key_{name}", name, role, datetime.now(UTC))
    return Caller(key, f"person_{name}" if participant else None, participant=participant, approver=approver)


class Managers:
    """Two keepers, one Redis."""

    def __init__(self) -> None:
        self.board, self.live, self.tasks = MemoryAttendance(), MemoryLiveOutput(), Tasks()
        self.frames: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
        self.keepers = {name: self._keeper(name) for name in self.frames}
        for name, keeper in self.keepers.items():
            self.tasks.keep(f"attendance-{name}", keeper.run)

    def _keeper(self, name: str) -> AttendanceKeeper:
        def feed(session_id: UUID, text: str) -> None:
            assert session_id == SESSION
            self.frames[name].append(json.loads(text or '{"people": []}'))

        redis = CircuitBreaker(f"redis-{name}", self.live.answers, self.tasks)
        return AttendanceKeeper(self.board, self.live, redis, feed, name)

    async def names(self, manager: str) -> list[tuple[str, str]]:
        return [(each.name, each.role) for each in (await self.keepers[manager].people(SESSION)).people]

    async def are(self, manager: str, *names: str) -> None:
        async with asyncio.timeout(5):
            while [name for name, _ in await self.names(manager)] != list(names):
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def managers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Managers]:
    monkeypatch.setattr(rules, "GRACE_S", 0.02)
    made = Managers()
    yield made
    await made.tasks.close()


async def test_each_manager_sees_the_readers_of_all(managers: Managers) -> None:
    with ExitStack() as stack:
        stack.enter_context(managers.keepers["a"].present(SESSION, caller("ann", Role.ADMIN)))
        stack.enter_context(managers.keepers["a"].present(SESSION, caller("ann", Role.ADMIN)))
        await managers.are("b", "ann")
        with managers.keepers["b"].present(SESSION, caller("bob", Role.READONLY)):
            await managers.are("a", "ann", "bob")
            assert await managers.names("b") == [("ann", "owner"), ("bob", "viewer")]
            with managers.keepers["b"].present(SESSION, caller("eve", participant=True)):
                await managers.are("a", "ann", "bob", "eve")
                assert (await managers.names("a"))[-1] == ("eve", "editor")
            answers = caller("joe", Role.READONLY, participant=True, approver=True)
            with managers.keepers["b"].present(SESSION, answers):
                await until(lambda: "joe" in managers.board.said[SESSION].get("b", ""))
                assert ("joe", "approver") in await managers.names("a")
        await managers.are("a", "ann")
        last = [frame for frame in managers.frames["a"] if "type" in frame][-1]
        assert (last["type"], [each["id"] for each in last["people"]], last["more"]) == ("attendance", ["key_ann"], 0)
    await managers.are("b")
    assert managers.board.said[SESSION] == {}
    await until(lambda: managers.keepers["a"].report() == {"sessions": 0})


async def test_without_redis_a_manager_knows_its_own_readers(managers: Managers) -> None:
    managers.board.away = managers.live.away = True
    with managers.keepers["a"].present(SESSION, caller("ann")):
        await managers.are("a", "ann")
        await until(lambda: bool(managers.frames["a"]))
        await managers.are("b")
    await managers.are("a")


async def test_a_manager_that_has_died_runs_out(managers: Managers, monkeypatch: pytest.MonkeyPatch) -> None:
    managers.board.said[SESSION] = {
        "gone": rules.report_of([rules.Person("key_x", "x", "owner", datetime.now(UTC))], 1.0)
    }
    assert await managers.names("a") == []
    monkeypatch.setitem(managers.board.said[SESSION], "gone", "nonsense")
    assert await managers.names("a") == []
