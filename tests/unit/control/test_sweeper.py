"""The sweep: what belongs to nobody goes, what is young or not ours to judge stays, and each is named."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from jelmore.control.requests import CreateRequest
from jelmore.control.sweeper import Report, Retention, Sweeper
from jelmore.ports import Address, Leftover, SandboxSpec
from jelmore.session.errors import RefusedError
from jelmore.session.limits import Limits
from jelmore.session.record import Session
from jelmore.session.states import Fact
from jelmore.session.world import Route
from tests.support.records import lines
from tests.unit.control.virtual_time import EPOCH
from tests.unit.control.world import ALICE, Manager, World

RETENTION = Retention(quarantine_s=60, workspace_s=1000, record_s=2000)


class Swept:
    """A world with a live session, an ended one, and the things of one that nobody knows."""

    def __init__(self) -> None:
        self.world = World()
        self.manager = Manager(self.world)
        self.looked_at: list[UUID] = []
        self.sweeper = Sweeper(self.manager.ports, self.looked_at.append, RETENTION)
        self.live = self.ended = UUID(int=0)
        self.unknown = uuid4()

    async def open(self) -> None:
        await self.manager.start()
        for _ in range(2):
            created = await self.manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=True)
            self.live, self.ended = created.session.id, self.live
        await self.manager.commands.delete(ALICE, self.ended, reason="r", wait=True)
        async with asyncio.timeout(60):
            while self.world.store.outbox or self.world.machine.sandbox(self.ended):
                await asyncio.sleep(0.1)
        await self.manager.tasks.close()  # from here on only the sweep acts

    async def litter(self, session_id: UUID) -> None:
        machine, world = self.world.machine, self.world
        await machine.start(SandboxSpec(session_id, 1, Limits()))
        machine.made = dict.fromkeys(machine.made, EPOCH)
        await world.edge.publish(session_id, Address("unix:/fake/runner.sock"), route=Route.RUNNER)
        await world.live.append(session_id, lines(1, 1))

    async def sweep(self, *, dry_run: bool = False) -> set[tuple[str, str, str]]:
        """Return kind, whose and action of each entry."""
        report = await self.sweeper.sweep(dry_run=dry_run)
        return self.named(report)

    def named(self, report: Report) -> set[tuple[str, str, str]]:
        names = {str(self.live): "live", str(self.ended): "ended", str(self.unknown): "unknown"}
        return {(entry.kind, names.get(entry.name, entry.name), entry.action) for entry in report.entries}


@pytest_asyncio.fixture
async def swept() -> AsyncIterator[Swept]:
    swept = Swept()
    await swept.open()
    yield swept
    await swept.manager.kill()


async def test_a_sweep_without_leftovers_changes_nothing(swept: Swept) -> None:
    assert await swept.sweep() == set()
    assert swept.live in swept.looked_at
    assert swept.world.machine.sandbox(swept.live) is not None


async def test_unknown_objects_are_removed_after_their_quarantine_and_their_work_much_later(swept: Swept) -> None:
    await swept.litter(swept.unknown)
    kinds = {"container", "route", "stream", "volume"}
    assert {(kind, action) for kind, _, action in await swept.sweep()} == {(kind, "kept") for kind in kinds}
    assert swept.world.machine.sandbox(swept.unknown) is not None, "it was made long ago, but only just seen"
    await asyncio.sleep(61)
    gone = {("container", "unknown", "removed"), ("route", "unknown", "removed"), ("stream", "unknown", "removed")}
    assert await swept.sweep() == {*gone, ("volume", "unknown", "kept")}
    assert swept.unknown not in swept.world.edge.published
    assert swept.unknown not in await swept.world.live.known()
    assert swept.live in swept.world.edge.published
    await asyncio.sleep(900)
    assert await swept.sweep() == {("volume", "unknown", "kept")}
    await asyncio.sleep(100)
    assert ("volume", "unknown", "removed") in await swept.sweep()
    assert swept.unknown not in swept.world.machine.volumes
    assert {whose for _, whose, _ in await swept.sweep()} <= {"ended"}, "nothing of the unknown one is left"


async def test_a_sandbox_that_is_kept_for_a_later_session_stays_until_it_is_given_up(swept: Swept) -> None:
    reserved = {swept.unknown}

    async def ids() -> set[UUID]:
        return reserved

    await swept.litter(swept.unknown)
    await swept.world.live.forget(swept.unknown)
    swept.sweeper = Sweeper(swept.manager.ports, swept.looked_at.append, RETENTION, ids)
    for _ in range(3):
        assert await swept.sweep() <= {("volume", "ended", "removed"), ("record", "ended", "removed")}
        await asyncio.sleep(1000)
    reserved.clear()
    kinds = {"container", "route", "volume"}
    assert {(kind, action) for kind, whose, action in await swept.sweep() if whose == "unknown"} == {
        (kind, "kept") for kind in kinds
    }
    await asyncio.sleep(61)
    assert ("container", "unknown", "removed") in await swept.sweep()


async def test_a_sandbox_whose_session_was_created_meanwhile_is_that_sessions(swept: Swept) -> None:
    """Another manager claimed it: its id is still among the reserved ones that were read, and the session has ended."""

    async def ids() -> list[UUID]:
        return [swept.ended]

    swept.sweeper = Sweeper(swept.manager.ports, swept.looked_at.append, RETENTION, ids)
    await swept.world.machine.start(SandboxSpec(swept.ended, 1, Limits()))
    await asyncio.sleep(61)
    assert ("container", "ended", "removed") in await swept.sweep()


async def test_leftovers_go_after_a_while_and_what_cannot_be_read_is_only_reported(swept: Swept) -> None:
    folder, strange = Leftover("sockets", "f00", "nobody uses it"), Leftover("volume", "v", "unnamed", removable=False)
    swept.world.machine.left = [folder, strange]
    kept = {("sockets", "f00", "kept"), ("volume", "v", "kept")}
    assert await swept.sweep() == kept
    await asyncio.sleep(301)
    gone = {("sockets", "f00", "removed"), ("volume", "v", "kept")}
    assert await swept.sweep(dry_run=True) == gone
    assert swept.world.machine.left == [folder, strange]
    assert await swept.sweep() == gone
    assert swept.world.machine.left == [strange]


async def test_a_container_of_a_session_resumed_during_the_sweep_is_not_removed(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await swept.litter(swept.ended)
    store, machine = swept.world.store, swept.world.machine
    load_many = store.load_many

    async def then_resumed(session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        found: Mapping[UUID, Session] = await load_many(session_ids)
        if swept.ended in found and found[swept.ended].ended:
            saved = await store.save(*found[swept.ended].after(Fact.RESUMED, swept.manager.ports.clock.now()))
            await machine.start(SandboxSpec(swept.ended, saved.generation, Limits(), has_output=True))
        return found

    await asyncio.sleep(61)
    monkeypatch.setattr(store, "load_many", then_resumed)
    await swept.sweep()
    successor = machine.sandbox(swept.ended)
    assert successor is not None
    assert successor.generation == 2


async def test_a_container_that_a_newer_generation_replaced_is_removed(swept: Swept) -> None:
    machine, session_id = swept.world.machine, swept.live
    newest = machine.sandbox(session_id)
    assert newest is not None
    machine.sandboxes[session_id][0] = replace(newest, generation=0, id="older")
    machine.made["older"] = EPOCH
    assert await swept.sweep(dry_run=True) == {("container", "live", "removed")}
    assert set(machine.sandboxes[session_id]) == {0, 1}
    assert await swept.sweep() == {("container", "live", "removed")}
    assert machine.sandboxes[session_id] == {1: newest}


async def test_a_workspace_is_not_erased_under_a_session_that_was_resumed_meanwhile(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = swept.world.store
    load_many = store.load_many

    async def then_resumed(session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        found: Mapping[UUID, Session] = await load_many(session_ids)
        if swept.ended in found and found[swept.ended].ended:
            await store.save(*found[swept.ended].after(Fact.RESUMED, swept.manager.ports.clock.now()))
        return found

    await asyncio.sleep(1001)
    monkeypatch.setattr(store, "load_many", then_resumed)
    assert await swept.sweep() == {("volume", "ended", "failed")}
    assert swept.ended in swept.world.machine.volumes


@pytest.mark.parametrize("look", [1, 2], ids=["before the withdrawal", "in its moment"])
async def test_a_session_that_was_resumed_meanwhile_keeps_its_route_or_gets_it_again(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    store, edge = swept.world.store, swept.manager.ports.edge
    load_many, looks = store.load_many, 0

    async def then_resumed(session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        nonlocal looks
        found: Mapping[UUID, Session] = await load_many(session_ids)
        looks += swept.ended in found
        if looks == look and found[swept.ended].ended:
            await store.save(*found[swept.ended].after(Fact.RESUMED, swept.manager.ports.clock.now()))
        return found

    await edge.publish(swept.ended, None, route=Route.MANAGER)
    monkeypatch.setattr(store, "load_many", then_resumed)
    await swept.sweep()
    stays = await edge.route(swept.ended) is not Route.ABSENT
    assert stays == (look == 1)
    assert stays or swept.ended in swept.looked_at, "its next pass publishes it"


async def test_the_objects_of_an_ended_session_are_removed(swept: Swept) -> None:
    await swept.litter(swept.ended)
    found = await swept.sweep()
    assert ("container", "ended", "kept") in found, "one that has only just ended is still being taken down in order"
    await asyncio.sleep(61)
    found |= await swept.sweep()
    removed = {kind for kind, whose, action in found if whose == "ended" and action == "removed"}
    assert removed == {"container", "route"}
    assert swept.world.machine.sandbox(swept.ended) is None
    assert swept.ended in swept.world.machine.volumes, "the workspace is kept for resuming"


async def test_retention_takes_the_workspace_and_then_the_record(swept: Swept) -> None:
    await asyncio.sleep(999)
    assert await swept.sweep() == set()
    await asyncio.sleep(2)
    assert await swept.sweep() == {("volume", "ended", "removed")}
    await asyncio.sleep(1000)
    swept.world.store.outbox.clear()
    assert await swept.sweep() == {("record", "ended", "removed")}
    assert swept.ended not in swept.world.store.sessions
    assert swept.live in swept.world.store.sessions


async def test_a_dry_run_names_everything_and_changes_nothing(swept: Swept) -> None:
    await swept.litter(swept.unknown)
    await swept.sweep(dry_run=True)
    await asyncio.sleep(61)
    before = (dict(swept.world.machine.sandboxes), dict(swept.world.machine.volumes), dict(swept.world.edge.published))
    events = sum(len(kept) for kept in swept.world.store.kept_events.values())
    named = await swept.sweep(dry_run=True)
    assert {kind for kind, _, action in named if action == "removed"} == {"container", "route", "stream"}
    after = (dict(swept.world.machine.sandboxes), dict(swept.world.machine.volumes), dict(swept.world.edge.published))
    assert after == before
    assert await swept.world.live.known()
    assert sum(len(kept) for kept in swept.world.store.kept_events.values()) == events
    assert swept.looked_at == []


@pytest.mark.parametrize(
    ("away", "skipped"),
    [("machine", {"containers", "leftovers", "volumes", "records"}), ("live", {"streams"})],
)
async def test_what_is_away_is_named_and_the_rest_done(swept: Swept, away: str, skipped: set[str]) -> None:
    await swept.litter(swept.unknown)
    await swept.sweep()
    await asyncio.sleep(61)
    getattr(swept.world, away).away = True
    report = await swept.sweeper.sweep(dry_run=False)
    assert {line.partition(":")[0] for line in report.skipped} == skipped
    assert ("route", "unknown", "removed") in swept.named(report)


async def test_one_object_that_cannot_be_removed_does_not_protect_the_others(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: str) -> None:
        raise RefusedError("docker", "device busy")

    await swept.litter(swept.unknown)
    await swept.sweep()
    await asyncio.sleep(61)
    monkeypatch.setattr(swept.world.machine, "remove", refuse)
    named = await swept.sweep()
    assert ("container", "unknown", "failed") in named
    assert ("route", "unknown", "removed") in named


async def test_a_record_with_unpublished_events_waits(swept: Swept) -> None:
    await asyncio.sleep(2001)
    swept.world.store.outbox.extend(swept.world.store.kept_events[swept.ended][:1])
    assert ("record", "ended", "failed") in await swept.sweep()
    assert swept.ended in swept.world.store.sessions
