"""What an engine keeps that no session owns, and volumes that are restored, foreign or replaced."""

from dataclasses import replace
from uuid import uuid4

import pytest

from jelmore.drivers.docker_config import (
    GENERATION,
    INSTANCE,
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
from jelmore.session.errors import RefusedError, WorkspaceLostError
from tests.integration.sandboxes.conftest import IMAGE, MakeSandboxes
from tests.integration.sandboxes.specs import new_spec, observed
from tests.support.waiting import joined

pytestmark = [pytest.mark.integration, pytest.mark.docker]


async def test_a_reader_that_a_crash_left_does_not_count_and_is_a_leftover(
    make: MakeSandboxes, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandboxes, spec = make(), new_spec()
    await sandboxes.start(spec)
    await sandboxes.remove((await observed(sandboxes, spec)).id)
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
    sandboxes, spec = make(), new_spec()
    await sandboxes.start(spec)
    newer = labels(spec.session_id, sandboxes._instance, {GENERATION: "2"})
    await engine.call("POST", "containers/create", body={"Image": IMAGE, "Labels": newer})
    for _ in range(2):
        assert sorted(found.sandbox.generation for found in await sandboxes.found()) == [1, 2]


@pytest.mark.parametrize("marks", [{}, {SESSION: "nonsense"}])
async def test_what_names_no_session_is_reported_and_disturbs_nothing(
    make: MakeSandboxes, engine: DockerEngine, marks: dict[str, str]
) -> None:
    sandboxes, spec = make(), new_spec()
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
    sandboxes, restored, foreign = make(), replace(new_spec(), generation=2), new_spec()
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
    sandboxes, spec = make(), new_spec()
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
    sandboxes, spec = make(), new_spec()
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
