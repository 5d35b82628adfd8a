"""Probes that learn what a session uses: init once, kept, and a limit that reaches its runner in the end."""

import asyncio
from typing import Any

import pytest

from jelmore.control.requests import Changes, CreateRequest
from jelmore.control.resources import measurement_of
from jelmore.session.errors import CapacityError, DependencyError, InvalidRequestError
from jelmore.session.events import EventType
from jelmore.session.limits import MEBIBYTE
from jelmore.session.profiles import Ceiling, Profile
from jelmore_protocol.control import OutputLimits
from tests.unit.control.machine import HostedRunner
from tests.unit.control.world import ALICE, Manager, World, until

GIBIBYTE = 1024 * MEBIBYTE


async def started(world: World, manager: Manager) -> HostedRunner:
    """Return the runner of a new session."""
    await manager.start()
    request = CreateRequest(limits={"workspace_bytes": GIBIBYTE})
    created = await manager.commands.create(ALICE, request, idempotency=None, wait=True)
    return world.machine.runner(created.session.id)


def session_of(world: World) -> Any:
    [session] = world.store.sessions.values()
    return session


async def warnings(world: World) -> list[tuple[str, int]]:
    events = await world.store.events(session_of(world).id, 0, 1000, [EventType.SYSTEM_RESOURCE_WARNING])
    return [(event.payload["resource"], event.payload["level_percent"]) for event in events]


async def test_each_level_is_reported_once_however_many_probes_and_managers() -> None:
    world = World()
    manager = Manager(world)
    runner = await started(world, manager)
    runner.sizes = {"workspace_bytes": 850, "workspace_limit_bytes": 1000, "memory_bytes": 95, "memory_limit_bytes": 99}
    for _ in range(3):
        await manager.prober.probe_all()
    assert sorted(await warnings(world)) == [("memory", 90), ("workspace", 80)]
    await manager.kill()
    manager = Manager(world)
    await manager.start()
    runner.sizes = {**runner.sizes, "workspace_bytes": 1200}
    for _ in range(3):
        await manager.prober.probe_all()
    assert sorted(await warnings(world)) == [("memory", 90), ("workspace", 80), ("workspace", 100)]
    assert session_of(world).resources.reading.workspace_bytes == 1200
    probes = await world.store.probes(session_of(world).id)
    assert probes[0].reading.workspace_bytes == 1200
    assert {probe.reading.workspace_bytes for probe in probes} >= {850, 1200}
    await manager.kill()


async def test_two_managers_that_probe_at_once_report_a_level_once() -> None:
    world = World()
    first = Manager(world)
    runner = await started(world, first)
    second = Manager(world, holder="manager-1")
    runner.sizes = {"pids": 950, "pids_limit": 1000, "open_files": 91, "open_files_limit": 100}
    session = session_of(world)
    for manager in (first, second):  # both with the record as it was before either wrote
        keeper = manager.prober._resources
        await keeper.take(session, runner.health, measurement_of(runner.health))
    assert sorted(await warnings(world)) == [("open_files", 90), ("pids", 90)]
    await first.kill()
    await second.kill()


async def test_a_silent_runner_has_no_sizes() -> None:
    world = World()
    manager = Manager(world)
    await started(world, manager)
    session = session_of(world)
    world.machine.runners.silent.add(world.machine.control(session.id))
    await manager.prober.probe_all()
    [probe, *_] = await world.store.probes(session.id)
    assert not probe.healthy
    assert probe.reading.workspace_bytes is None
    assert await warnings(world) == []
    await manager.kill()


async def test_a_changed_limit_is_sent_at_once_or_with_the_next_probe() -> None:
    world = World()
    manager = Manager(world)
    runner = await started(world, manager)
    session = session_of(world)
    await manager.commands.change(ALICE, session.id, Changes(limits={"workspace_bytes": 2 * GIBIBYTE}))
    assert runner.workspace_limit_bytes == 2 * GIBIBYTE
    assert session_of(world).spec.limits.workspace_bytes == 2 * GIBIBYTE
    runner.workspace_limit_bytes = GIBIBYTE  # as one that was frozen when the limit changed
    await manager.prober.probe_all()
    assert runner.workspace_limit_bytes == 2 * GIBIBYTE
    await manager.kill()


async def test_changed_limits_of_output_are_sent_at_once_or_with_the_next_probe() -> None:
    world = World()
    manager = Manager(world)
    runner = await started(world, manager)
    session = session_of(world)
    before = runner.output_limits
    assert before is not None
    changes = Changes(limits={"output_bytes": 4 * MEBIBYTE, "output_bytes_per_s": 2048})
    await manager.commands.change(ALICE, session.id, changes)
    wanted = OutputLimits(total_bytes=4 * MEBIBYTE, bytes_per_s=2048)
    assert runner.output_limits == wanted
    await manager.commands.change(ALICE, session.id, Changes(limits={"output_bytes": 8 * MEBIBYTE}))
    wanted = OutputLimits(total_bytes=8 * MEBIBYTE, bytes_per_s=2048)
    assert runner.output_limits == wanted, "what was not named stays"
    runner.output_limits = before  # as one that was frozen when the limit changed
    await manager.prober.probe_all()
    assert runner.output_limits == wanted
    with pytest.raises(InvalidRequestError, match=r"limits\.output_bytes"):
        await manager.commands.change(ALICE, session.id, Changes(limits={"output_bytes": 1}))
    assert runner.output_limits == wanted
    await manager.kill()


async def test_a_runner_of_an_earlier_image_gets_limits_of_output_at_its_next_start() -> None:
    world = World()
    manager = Manager(world)
    runner = await started(world, manager)
    session = session_of(world)
    runner.output_limits = None
    await manager.commands.change(ALICE, session.id, Changes(limits={"output_bytes": 4 * MEBIBYTE}))
    await manager.prober.probe_all()
    assert runner.output_limits is None
    assert session_of(world).spec.limits.output_bytes == 4 * MEBIBYTE
    await manager.commands.restart(ALICE, session.id)
    await until(world, session.id, lambda one: one.generation == 2 and one.container_id is not None, "another")
    init = world.machine.runner(session.id).init
    assert init is not None
    assert init.output_limits is not None
    assert init.output_limits.total_bytes == 4 * MEBIBYTE
    await manager.kill()


async def test_changed_limits_stay_below_the_ceiling_of_the_profile() -> None:
    world = World()
    manager = Manager(world)
    await manager.start()
    profile = Profile("small", ceiling=Ceiling(workspace_bytes=GIBIBYTE, output_bytes=4 * MEBIBYTE))
    made = await manager.commands.create(ALICE, CreateRequest(profile=profile), idempotency=None, wait=True)
    for name, value in (("workspace_bytes", 2 * GIBIBYTE), ("output_bytes", 5 * MEBIBYTE)):
        with pytest.raises(InvalidRequestError, match=rf"limits\.{name}"):
            await manager.commands.change(ALICE, made.session.id, Changes(limits={name: value}))
    await manager.kill()


async def test_a_full_disk_of_the_engine_refuses_new_sessions() -> None:
    world = World()
    manager = Manager(world, floor_bytes=1)
    await started(world, manager)
    world.machine.free = 0
    with pytest.raises(CapacityError, match="disk are free"):
        await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)
    before = len(world.store.sessions)
    world.machine.away = True  # not full but away: said as such, at once, with nothing half made
    with pytest.raises(DependencyError, match="docker"):
        await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)
    assert len(world.store.sessions) == before
    world.machine.away, world.machine.free = False, 2
    await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)
    await until(world, session_of_newest(world), lambda session: session.container_id is not None, "the start")
    await manager.kill()


def session_of_newest(world: World) -> Any:
    return max(world.store.sessions)


async def test_processor_use_is_a_series_and_a_long_one_is_warned_of_once() -> None:
    world = World()
    manager = Manager(world)
    runner = await started(world, manager)
    used_us = 0
    for _ in range(7):
        used_us += 29_000_000
        runner.sizes = {"cpu_us": used_us, "cpu_limit_millis": 1000}
        await manager.prober.probe_all()
        await asyncio.sleep(30)  # virtual time
    assert await warnings(world) == [("processor", 90)]
    series = [probe.reading.cpu_millis for probe in await world.store.probes(session_of(world).id)]
    assert 967 in series
    await manager.kill()


async def test_processes_that_are_killed_for_memory_are_reported_though_the_session_continues() -> None:
    world = World()
    manager = Manager(world)
    runner = await started(world, manager)
    runner.sizes = {"oom_kills": 2, "memory_limit_bytes": 1000}
    for _ in range(2):
        await manager.prober.probe_all()
    assert await warnings(world) == [("out_of_memory", 100)]
    await manager.kill()
