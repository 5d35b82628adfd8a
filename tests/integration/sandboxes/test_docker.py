"""Containers as Docker really makes them: their locks, their ends, their files, and an engine that goes away."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from jelmore.drivers.docker_config import (
    GENERATION,
    INSTANCE,
    SECCOMP,
    SESSION,
    container_config,
    container_name,
    labels,
    reader_config,
    volume_name,
)
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths, new_key
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import SandboxSpec
from jelmore.session.errors import DependencyError, RefusedError, WorkspaceLostError
from jelmore.session.limits import MEBIBYTE, Limits
from jelmore.session.world import Sandbox, SandboxState
from jelmore_protocol.control import Phase
from tests.integration.sandboxes.conftest import IMAGE, MakeSandboxes
from tests.support.engine_relay import EngineRelay
from tests.support.stack import docker
from tests.support.waiting import joined, until

pytestmark = [pytest.mark.integration, pytest.mark.docker]

LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpus=1.5, pids=200)


def _spec() -> SandboxSpec:
    return SandboxSpec(uuid4(), 1, LIMITS)


async def _inspect(engine: DockerEngine, spec: SandboxSpec) -> dict[str, Any]:
    inspected: dict[str, Any] = await engine.call(
        "GET", f"containers/{container_name(spec.session_id, spec.generation)}/json"
    )
    return inspected


async def _sandbox(sandboxes: DockerSandboxes, spec: SandboxSpec) -> Sandbox:
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    return sandbox


async def _ended(sandboxes: DockerSandboxes, session_id: UUID) -> bool:
    sandbox = await sandboxes.observe(session_id)
    return sandbox is not None and sandbox.state is SandboxState.EXITED


async def test_the_container_is_locked_as_designed(make: MakeSandboxes, engine: DockerEngine) -> None:
    sandboxes, spec = make(), _spec()
    await sandboxes.start(spec)
    inspected = await _inspect(engine, spec)
    host, labels = inspected["HostConfig"], inspected["Config"]["Labels"]
    assert (labels[SESSION], labels[GENERATION]) == (str(spec.session_id), "1")
    assert labels[INSTANCE].startswith("test-")
    assert host["NetworkMode"] == "none"
    assert list(inspected["NetworkSettings"]["Networks"]) == ["none"]
    assert not inspected["NetworkSettings"]["Ports"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["CapDrop"] == ["ALL"]
    assert set(host["CapAdd"]) == {"KILL", "SETGID", "SETPCAP", "SETUID"}
    assert host["SecurityOpt"] == ["no-new-privileges", f"seccomp={SECCOMP}"]
    assert host["Memory"] == host["MemorySwap"] == LIMITS.memory_bytes
    assert host["NanoCpus"] == 1_500_000_000
    assert host["PidsLimit"] == 200
    assert host["RestartPolicy"]["Name"] == "no"
    assert "size=" in host["Tmpfs"]["/tmp"]
    assert host["LogConfig"]["Config"]["max-size"]
    mounts = {mount["Destination"]: mount for mount in inspected["Mounts"]}
    assert set(mounts) == {"/session", "/jelmore/run", "/jelmore/gateway"}
    assert mounts["/session"]["Name"] == volume_name(spec.session_id)
    assert not mounts["/jelmore/gateway"]["RW"]
    # Nothing secret, and nothing of this machine's, is told to whoever may inspect a container.
    image = await engine.call("GET", f"images/{inspected['Image']}/json")
    known = {line for line in image["Config"]["Env"] if not line.startswith("JELMORE_RUNNER_GATEWAY=")}
    assert set(inspected["Config"]["Env"]) == known | {"JELMORE_RUNNER_GATEWAY=unix:/jelmore/gateway/model.sock"}


async def test_the_runner_inside_answers_through_its_folder(make: MakeSandboxes) -> None:
    sandboxes, spec, runners = make(), _spec(), RunnerLink()
    await sandboxes.start(spec)
    sandbox = await _sandbox(sandboxes, spec)
    at = sandbox.control
    assert at is not None

    async def dormant() -> bool:
        with suppress(DependencyError):
            return (await runners.health(at)).phase is Phase.DORMANT
        return False

    await until(dormant, seconds=30)
    await sandboxes.pause(sandbox.id)
    with pytest.raises(DependencyError):
        await RunnerLink(call_s=0.3).health(at)
    await sandboxes.unpause(sandbox.id)
    assert (await runners.health(at)).phase is Phase.DORMANT


async def test_code_in_a_box_cannot_lead_its_manager_elsewhere_and_its_agent_cannot_read_the_secret(
    make: MakeSandboxes, run_paths: RunPaths
) -> None:
    sandboxes, spec, neighbour, runners = make(), _spec(), _spec(), RunnerLink()
    for each in (spec, neighbour):
        await sandboxes.start(each)
    at, other = [(await _sandbox(sandboxes, each)).control for each in (spec, neighbour)]
    assert at is not None
    assert other is not None

    async def both() -> bool:
        with suppress(DependencyError):
            return {(await runners.health(each)).phase for each in (at, other)} == {Phase.DORMANT}
        return False

    await until(both, seconds=30)
    name = container_name(spec.session_id, 1)
    for socket_name in ("control.sock", "runner.sock"):
        docker(
            "exec",
            "--user",
            "10001",
            name,
            "ln",
            "-s",
            f"/jelmore/gateway/{socket_name}",
            f"/jelmore/run/{socket_name}",
        )
    assert (await runners.health(at)).phase is Phase.DORMANT
    with pytest.raises(AssertionError):
        docker("exec", "--user", "1000:1000", name, "cat", "/jelmore/run/secret")
    assert docker("exec", "--user", "10001", name, "cat", "/jelmore/run/secret").strip() == at.secret != other.secret
    with pytest.raises(RefusedError):
        await runners.health(replace(at, secret=other.secret))


async def test_what_a_crash_left_created_is_started(
    make: MakeSandboxes, engine: DockerEngine, run_paths: RunPaths
) -> None:
    sandboxes, spec = make(), _spec()
    run_paths.prepare()
    key = new_key()
    run_paths.make_folder(key)
    await sandboxes._workspaces.claim(spec)
    await engine.call(
        "POST",
        "containers/create",
        params={"name": container_name(spec.session_id, 1)},
        body=container_config(spec, IMAGE, sandboxes._instance, run_paths.folder(key), gateway=run_paths.gateway),
    )
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    assert sandbox.state is SandboxState.CREATED
    await sandboxes.start(spec)
    assert (await _inspect(engine, spec))["State"]["Running"]


async def test_an_end_is_left_to_be_seen(image_that: Any, make: MakeSandboxes) -> None:
    sandboxes, spec = make(image=await image_that("echo first; echo last words; exit 3")), _spec()
    await sandboxes.start(spec)
    await until(lambda: _ended(sandboxes, spec.session_id))
    await sandboxes.start(spec)
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    assert (sandbox.state, sandbox.exit_code, sandbox.oom) == (SandboxState.EXITED, 3, False)
    assert await sandboxes.log_tail(sandbox.id, 10) == ("first", "last words")
    assert await sandboxes.log_tail(sandbox.id, 1) == ("last words",)
    await sandboxes.pause(sandbox.id)  # nothing runs: nothing to do
    await sandboxes.unpause(sandbox.id)


async def test_want_of_memory_is_seen(image_that: Any, make: MakeSandboxes) -> None:
    sandboxes, spec = make(image=await image_that("tail /dev/zero")), _spec()
    await sandboxes.start(spec)
    await until(lambda: _ended(sandboxes, spec.session_id), seconds=60)
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    assert sandbox.oom
    assert sandbox.exit_code == 137


async def test_want_of_memory_below_a_living_runner_is_seen(image_that: Any, make: MakeSandboxes) -> None:
    sandboxes, spec = make(image=await image_that("tail /dev/zero; exec sleep 600")), _spec()

    async def told() -> bool:
        async for _ in sandboxes.changes():
            sandbox = await sandboxes.observe(spec.session_id)
            if sandbox is not None and sandbox.oom:
                return sandbox.state is SandboxState.RUNNING
        return False

    await sandboxes.start(spec)
    assert await asyncio.wait_for(told(), 60)


async def test_the_journal_is_read_from_a_stopped_session_and_from_its_volume(
    image_that: Any, make: MakeSandboxes, engine: DockerEngine
) -> None:
    write = "mkdir -p /session/state && printf 'one\\ntwo\\n' >/session/state/journal.jsonl"
    sandboxes, spec = make(image=await image_that(write)), _spec()
    await sandboxes.start(spec)
    await until(lambda: _ended(sandboxes, spec.session_id))
    assert await joined(sandboxes.journal(spec.session_id)) == b"one\ntwo\n"
    await sandboxes.remove((await _sandbox(sandboxes, spec)).id)
    both = await asyncio.gather(*(joined(sandboxes.journal(spec.session_id)) for _ in range(2)))
    assert both == [b"one\ntwo\n"] * 2
    filters = {"label": [f"{SESSION}={spec.session_id}"]}
    assert await engine.call("GET", "containers/json", params={"all": True, "filters": filters}) == []


async def test_a_reader_that_a_crash_left_does_not_count_and_is_a_leftover(
    make: MakeSandboxes, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandboxes, spec = make(), _spec()
    await sandboxes.start(spec)
    await sandboxes.remove((await _sandbox(sandboxes, spec)).id)
    left = await engine.call(
        "POST", "containers/create", body=reader_config(spec.session_id, IMAGE, sandboxes._instance)
    )
    assert await sandboxes.observe(spec.session_id) is None
    assert await sandboxes.found() == []
    assert await sandboxes.leftovers() == [], "it may still be in use"
    monkeypatch.setattr("jelmore.drivers.docker_sandboxes.READER_LEFT_S", -5.0)
    [leftover] = await sandboxes.leftovers()
    assert (leftover.kind, leftover.name, leftover.removable) == ("reader", left["Id"], True)
    assert (await engine.call("GET", f"containers/{left['Id']}/json"))["Id"] == left["Id"], "looking removes nothing"
    for _ in range(2):
        await sandboxes.clear(leftover)
    assert await sandboxes.leftovers() == []
    await sandboxes.erase(spec.session_id)
    assert await sandboxes.kept() == []


async def test_looking_removes_no_older_generation(make: MakeSandboxes, engine: DockerEngine) -> None:
    sandboxes, spec = make(), _spec()
    await sandboxes.start(spec)
    newer = labels(spec.session_id, sandboxes._instance, {GENERATION: "2"})
    await engine.call("POST", "containers/create", body={"Image": IMAGE, "Labels": newer})
    for _ in range(2):
        assert sorted(found.sandbox.generation for found in await sandboxes.found()) == [1, 2]


@pytest.mark.parametrize("marks", [{}, {SESSION: "nonsense"}])
async def test_what_names_no_session_is_reported_and_disturbs_nothing(
    make: MakeSandboxes, engine: DockerEngine, marks: dict[str, str]
) -> None:
    sandboxes, spec = make(), _spec()
    await sandboxes.start(spec)
    strange = {INSTANCE: sandboxes._instance, **marks}
    volume = await engine.call("POST", "volumes/create", body={"Labels": strange})
    container = await engine.call("POST", "containers/create", body={"Image": IMAGE, "Labels": strange})
    try:
        assert list(await sandboxes.kept()) == [spec.session_id]
        assert [found.session_id for found in await sandboxes.found()] == [spec.session_id]
        seen = {(each.kind, each.name, each.removable) for each in await sandboxes.leftovers()}
        assert seen == {("volume", volume["Name"], False), ("container", container["Id"], False)}
    finally:
        await engine.call("DELETE", f"containers/{container['Id']}", params={"force": True})
        await engine.call("DELETE", f"volumes/{volume['Name']}")


async def test_a_restored_volume_counts_by_its_name_and_a_foreign_one_does_not(
    make: MakeSandboxes, engine: DockerEngine
) -> None:
    sandboxes, restored, foreign = make(), replace(_spec(), generation=2), _spec()
    await engine.call("POST", "volumes/create", body={"Name": volume_name(restored.session_id)})
    marks = labels(foreign.session_id, f"o-{uuid4().hex[:8]}")
    await engine.call("POST", "volumes/create", body={"Name": volume_name(foreign.session_id), "Labels": marks})
    try:
        await sandboxes.start(restored)
        assert await sandboxes.has_workspace(restored.session_id)
        assert restored.session_id in await sandboxes.kept()
        assert not await sandboxes.has_workspace(foreign.session_id)
        assert foreign.session_id not in await sandboxes.kept()
        for verb in (sandboxes.start(foreign), sandboxes.erase(foreign.session_id)):
            with pytest.raises(RefusedError, match="installation"):
                await verb
        assert await joined(sandboxes.journal(foreign.session_id)) == b""
    finally:
        await engine.call("DELETE", f"volumes/{volume_name(foreign.session_id)}")


async def test_a_volume_that_the_engine_made_in_place_of_a_lost_one_is_no_workspace(
    make: MakeSandboxes, engine: DockerEngine, run_paths: RunPaths
) -> None:
    """The volume goes between the look at it and the creation of the container."""
    sandboxes, spec = make(), _spec()
    run_paths.prepare()
    run_paths.make_folder(key := new_key())
    config = container_config(spec, IMAGE, sandboxes._instance, run_paths.folder(key), gateway=run_paths.gateway)
    name = container_name(spec.session_id, spec.generation)
    await engine.call("POST", "containers/create", params={"name": name}, body=config)
    for _ in range(2):
        with pytest.raises(WorkspaceLostError):
            await sandboxes.start(spec)
    assert not await sandboxes.has_workspace(spec.session_id)
    assert await sandboxes.found() == []
    assert await sandboxes.kept() == []
    [left] = await sandboxes.leftovers()
    assert (left.kind, left.name) == ("replacement", volume_name(spec.session_id))
    await sandboxes.clear(left)
    assert await sandboxes.leftovers() == []


async def test_another_installation_on_the_same_engine_is_left_alone(make: MakeSandboxes, run_paths: RunPaths) -> None:
    sandboxes, spec = make(), _spec()
    await sandboxes.start(spec)
    other = DockerSandboxes(
        EngineAddress("unix:///var/run/docker.sock"), image="x", instance=f"o-{uuid4().hex[:8]}", paths=run_paths
    )
    try:
        assert await other.found() == []
        assert await other.kept() == []
        assert await other.observe(spec.session_id) is None
    finally:
        await other.close()


async def test_a_missing_image_is_named_with_the_way_to_get_it(make: MakeSandboxes) -> None:
    sandboxes = make(image="jelmore/no-such:image")
    for attempt in (sandboxes.check(), sandboxes.start(_spec())):
        with pytest.raises(RefusedError, match=r"jelmore/no-such:image.*make run"):
            await attempt


async def test_an_engine_that_is_away_or_silent_is_bad_luck(
    make: MakeSandboxes, run_paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = make(address=EngineAddress("unix:///nonexistent/docker.sock"))
    for attempt in (nobody.check(), nobody.found(), nobody.start(_spec()), nobody.remove("a")):
        with pytest.raises(DependencyError, match="docker"):
            await attempt
    monkeypatch.setattr("jelmore.drivers.docker_engine.CALL_S", 0.2)
    run_paths.prepare()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(run_paths.run_dir / "mute.sock"))
        mute.listen()
        silent = DockerEngine(EngineAddress(f"unix://{run_paths.run_dir}/mute.sock"))
        with pytest.raises(DependencyError, match="no answer within"):
            await silent.call("GET", "info", within_s=0.2)
        await silent.close()


async def test_changes_go_on_where_a_lost_connection_left_them(make: MakeSandboxes, relay: EngineRelay) -> None:
    sandboxes, first, second = make(address=EngineAddress(relay.url)), _spec(), _spec()
    heard = asyncio.Queue[UUID](100)

    async def listen() -> None:
        async for session_id in sandboxes.changes():
            heard.put_nowait(session_id)

    async def hears(session_id: UUID) -> None:
        async with asyncio.timeout(10):
            while await heard.get() != session_id:
                continue

    listening = asyncio.create_task(listen(), name="listen")
    await make().start(first)
    await hears(first.session_id)
    await relay.cut()
    await asyncio.wait_for(listening, 10)  # it ends, and says nothing else
    with pytest.raises(DependencyError):
        await sandboxes.found()
    with pytest.raises(DependencyError):
        await listen()
    await make().start(second)  # while nobody listens
    await relay.lead()
    listening = asyncio.create_task(listen(), name="listen again")
    await hears(second.session_id)
    assert {found.session_id for found in await sandboxes.found()} == {first.session_id, second.session_id}
    await relay.cut()
    await asyncio.wait_for(listening, 10)


async def test_twenty_starts_at_once(make: MakeSandboxes) -> None:
    sandboxes, specs = make(), [_spec() for _ in range(20)]
    await asyncio.gather(*(sandboxes.start(spec) for spec in specs))
    assert {found.session_id for found in await sandboxes.found()} == {spec.session_id for spec in specs}
