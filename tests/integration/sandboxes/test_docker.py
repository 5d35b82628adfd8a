"""Containers as Docker really makes them: their locks, their ends, and an engine that goes away."""

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
    volume_name,
)
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.docker_options import WantedOptions
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths, new_key
from jelmore.drivers.paused_memory import SwappingSandboxes, free_swap, group_of
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress, SandboxSpec
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.sandbox_choice import SandboxChoice
from jelmore.session.world import Sandbox, SandboxState
from jelmore_protocol.control import Phase
from tests.integration.sandboxes.conftest import ENGINE, IMAGE, MakeSandboxes
from tests.integration.sandboxes.specs import LIMITS, new_spec, observed
from tests.support.engine_relay import EngineRelay
from tests.support.stack import agent_uid_of, as_agent, docker
from tests.support.waiting import joined, until

pytestmark = [pytest.mark.integration, pytest.mark.docker]


async def test_more_open_files_than_the_engine_can_give_are_refused_by_the_setting_s_name(run_paths: RunPaths) -> None:
    instance, spec = f"test-{uuid4().hex[:8]}", new_spec()
    wanted = WantedOptions(open_files=2_000_000_000)  # above the kernel's own bound
    sandboxes = DockerSandboxes(ENGINE, image=IMAGE, instance=instance, paths=run_paths, wanted=wanted)
    with pytest.raises(RefusedError, match="JELMORE_OPEN_FILES: the engine cannot give as many"):
        await sandboxes.start(spec)
    await sandboxes.remove((await observed(sandboxes, spec)).id)
    await sandboxes.erase(spec.session_id)
    await sandboxes.close()


async def test_a_runtime_that_the_engine_has_not_is_named_before_anything_is_made(run_paths: RunPaths) -> None:
    wanted = WantedOptions(runtime="runsc")
    sandboxes = DockerSandboxes(ENGINE, image=IMAGE, instance=f"test-{uuid4().hex[:8]}", paths=run_paths, wanted=wanted)
    with pytest.raises(RefusedError, match="JELMORE_OCI_RUNTIME: the engine has no runtime 'runsc', only "):
        await sandboxes.check()
    with pytest.raises(RefusedError, match="JELMORE_OCI_RUNTIME"):
        await sandboxes.start(new_spec())
    of_profile = replace(new_spec(), choice=SandboxChoice(runtime="absent"))
    message = r"the runtime of the session's profile \(absent\): the engine has no runtime 'absent', only "
    with pytest.raises(RefusedError, match=message):
        await sandboxes.recipe(of_profile.choice)
    with pytest.raises(RefusedError, match=message):
        await sandboxes.start(of_profile)
    assert await sandboxes.found() == []
    assert await sandboxes.kept() == []
    await sandboxes.close()


async def _inspect(engine: DockerEngine, spec: SandboxSpec) -> dict[str, Any]:
    inspected: dict[str, Any] = await engine.call(
        "GET", f"containers/{container_name(spec.session_id, spec.generation)}/json"
    )
    return inspected


async def _ended(sandboxes: DockerSandboxes, session_id: UUID) -> bool:
    sandbox = await sandboxes.observe(session_id)
    return sandbox is not None and sandbox.state is SandboxState.EXITED


async def test_the_container_is_locked_as_designed(make: MakeSandboxes, engine: DockerEngine) -> None:
    sandboxes, spec = make(), new_spec()
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
    assert (host["CpuShares"], host["OomScoreAdj"]) == (256, 500)  # after the containers of the deployment
    assert host["RestartPolicy"]["Name"] == "no"
    assert {"size=536870912", "exec"} <= set(host["Tmpfs"]["/tmp"].split(","))
    assert host["LogConfig"]["Config"]["max-size"]
    mounts = {mount["Destination"]: mount for mount in inspected["Mounts"]}
    assert set(mounts) == {"/session", "/jelmore/run", "/jelmore/gateway"}
    assert mounts["/session"]["Name"] == volume_name(spec.session_id)
    assert not mounts["/jelmore/gateway"]["RW"]
    # Whoever may inspect a container sees nothing secret and nothing of this machine.
    image = await engine.call("GET", f"images/{inspected['Image']}/json")
    known = {line for line in image["Config"]["Env"] if not line.startswith("JELMORE_RUNNER_GATEWAY=")}
    assert set(inspected["Config"]["Env"]) == known | {
        "JELMORE_RUNNER_GATEWAY=unix:/jelmore/gateway/model.sock",
        f"JELMORE_RUNNER_AGENT_UID={agent_uid_of(str(spec.session_id))}",
    }


async def dormant(sandboxes: DockerSandboxes) -> tuple[Sandbox, ControlAddress]:
    """Return a new sandbox whose runner answers, and where."""
    spec, runners = new_spec(), RunnerLink()
    await sandboxes.start(spec)
    sandbox = await observed(sandboxes, spec)
    at = sandbox.control
    assert at is not None

    async def answers() -> bool:
        with suppress(DependencyError):
            return (await runners.health(at)).phase is Phase.DORMANT
        return False

    await until(answers, seconds=30)
    return sandbox, at


async def test_the_runner_inside_answers_through_its_folder(make: MakeSandboxes) -> None:
    sandboxes, runners = make(), RunnerLink()
    sandbox, at = await dormant(sandboxes)
    await sandboxes.pause(sandbox.id)
    with pytest.raises(DependencyError):
        await RunnerLink(call_s=0.3).health(at)
    await sandboxes.unpause(sandbox.id)
    assert (await runners.health(at)).phase is Phase.DORMANT


async def test_a_paused_container_gives_its_memory_back_and_goes_on(make: MakeSandboxes) -> None:
    sandboxes = make(kind=SwappingSandboxes)
    sandbox, at = await dormant(sandboxes)
    group = group_of(sandbox.id)
    if group is None or free_swap() < 2 * group.used():
        pytest.skip("this machine has no swap, or not the control groups of the engine's containers")
    before = group.used()
    await sandboxes.pause(sandbox.id)
    await until(lambda: group.used() < before / 4, seconds=60)
    await sandboxes.unpause(sandbox.id)
    assert (await RunnerLink().health(at)).phase is Phase.DORMANT


async def test_code_in_a_sandbox_cannot_redirect_its_manager_and_its_agent_cannot_read_the_secret(
    make: MakeSandboxes, run_paths: RunPaths
) -> None:
    sandboxes, spec, neighbour, runners = make(), new_spec(), new_spec(), RunnerLink()
    for each in (spec, neighbour):
        await sandboxes.start(each)
    at, other = [(await observed(sandboxes, each)).control for each in (spec, neighbour)]
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
        as_agent(name, "cat", "/jelmore/run/secret")
    assert docker("exec", "--user", "10001", name, "cat", "/jelmore/run/secret").strip() == at.secret != other.secret
    with pytest.raises(RefusedError):
        await runners.health(replace(at, secret=other.secret))


async def test_what_a_crash_left_created_is_started(
    make: MakeSandboxes, engine: DockerEngine, run_paths: RunPaths
) -> None:
    sandboxes, spec = make(), new_spec()
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
    sandboxes, spec = make(image=await image_that("echo first; echo last words; exit 3")), new_spec()
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
    sandboxes, spec = make(image=await image_that("tail /dev/zero")), new_spec()
    await sandboxes.start(spec)
    await until(lambda: _ended(sandboxes, spec.session_id), seconds=60)
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    assert sandbox.oom
    assert sandbox.exit_code == 137


async def test_want_of_memory_below_a_living_runner_is_seen(image_that: Any, make: MakeSandboxes) -> None:
    sandboxes, spec = make(image=await image_that("tail /dev/zero; exec sleep 600")), new_spec()

    async def changed() -> bool:
        async for _ in sandboxes.changes():
            sandbox = await sandboxes.observe(spec.session_id)
            if sandbox is not None and sandbox.oom:
                return sandbox.state is SandboxState.RUNNING
        return False

    await sandboxes.start(spec)
    assert await asyncio.wait_for(changed(), 60)


async def test_the_journal_is_read_from_a_stopped_session_and_from_its_volume(
    image_that: Any, make: MakeSandboxes, engine: DockerEngine
) -> None:
    write = "mkdir -p /session/state && printf 'one\\ntwo\\n' >/session/state/journal.jsonl"
    sandboxes, spec = make(image=await image_that(write)), new_spec()
    await sandboxes.start(spec)
    await until(lambda: _ended(sandboxes, spec.session_id))
    assert await joined(sandboxes.journal(spec.session_id)) == b"one\ntwo\n"
    await sandboxes.remove((await observed(sandboxes, spec)).id)
    both = await asyncio.gather(*(joined(sandboxes.journal(spec.session_id)) for _ in range(2)))
    assert both == [b"one\ntwo\n"] * 2
    filters = {"label": [f"{SESSION}={spec.session_id}"]}
    assert await engine.call("GET", "containers/json", params={"all": True, "filters": filters}) == []


async def test_a_missing_image_is_named_with_the_way_to_get_it(make: MakeSandboxes) -> None:
    sandboxes = make(image="jelmore/no-such:image")
    for attempt in (sandboxes.check(), sandboxes.start(new_spec())):
        with pytest.raises(RefusedError, match=r"jelmore/no-such:image.*make run"):
            await attempt


async def test_an_engine_that_is_away_or_silent_is_a_dependency_error(
    make: MakeSandboxes, run_paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = make(address=EngineAddress("unix:///nonexistent/docker.sock"))
    for attempt in (nobody.check(), nobody.found(), nobody.start(new_spec()), nobody.remove("a")):
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


async def test_changes_continue_after_a_lost_connection(make: MakeSandboxes, relay: EngineRelay) -> None:
    sandboxes, first, second = make(address=EngineAddress(relay.url)), new_spec(), new_spec()
    received = asyncio.Queue[UUID](100)

    async def listen() -> None:
        async for session_id in sandboxes.changes():
            received.put_nowait(session_id)

    async def receives(session_id: UUID) -> None:
        async with asyncio.timeout(10):
            while await received.get() != session_id:
                continue

    listening = asyncio.create_task(listen(), name="listen")
    await make().start(first)
    await receives(first.session_id)
    await relay.cut()
    await asyncio.wait_for(listening, 10)  # it ends, and says nothing else
    with pytest.raises(DependencyError):
        await sandboxes.found()
    with pytest.raises(DependencyError):
        await listen()
    await make().start(second)  # while nobody listens
    await relay.lead()
    listening = asyncio.create_task(listen(), name="listen again")
    await receives(second.session_id)
    assert {found.session_id for found in await sandboxes.found()} == {first.session_id, second.session_id}
    await relay.cut()
    await asyncio.wait_for(listening, 10)


async def test_twenty_starts_at_once(make: MakeSandboxes) -> None:
    sandboxes, specs = make(), [new_spec() for _ in range(20)]
    await asyncio.gather(*(sandboxes.start(spec) for spec in specs))
    assert {found.session_id for found in await sandboxes.found()} == {spec.session_id for spec in specs}
