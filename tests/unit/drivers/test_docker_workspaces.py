"""Which volume of an engine is a session's workspace, against an engine that keeps volumes and nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from jelmore.drivers.docker_config import INSTANCE, REPLACEMENT, SESSION, volume_name
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.docker_workspaces import DockerWorkspaces
from jelmore.ports import SandboxSpec
from jelmore.session.errors import RefusedError, WorkspaceLostError
from jelmore.session.limits import Limits

FIRST, LATER = SandboxSpec(uuid4(), 1, Limits()), SandboxSpec(uuid4(), 2, Limits())


class VolumeEngine:
    """The part of an engine's API that is about volumes."""

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, str]] = {}

    async def serve(self, request: web.Request) -> web.Response:
        _, _, path = request.path.rpartition("/volumes")
        name = path.strip("/")
        if request.path.endswith("/version"):
            return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        if request.method == "POST":
            body = await request.json()
            name = body["Name"]
            self.volumes.setdefault(name, body["Labels"])
        elif not name:
            return web.json_response({"Volumes": [self._shown(each) for each in self.volumes]})
        if name not in self.volumes:
            return web.json_response({"message": f"get {name}: no such volume"}, status=404)
        if request.method == "DELETE":
            del self.volumes[name]
            return web.Response(status=204)
        return web.json_response(self._shown(name))

    def _shown(self, name: str) -> dict[str, Any]:
        return {"Name": name, "Labels": self.volumes[name] or None}

    def put(self, session_id: UUID, **labels: str) -> None:
        self.volumes[volume_name(session_id)] = labels


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[VolumeEngine]:
    engine = VolumeEngine()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    yield engine
    await runner.cleanup()


@pytest.fixture
async def workspaces(engine: VolumeEngine, tmp_path: Path) -> AsyncIterator[DockerWorkspaces]:
    client = DockerEngine(EngineAddress(f"unix://{tmp_path}/engine.sock"))
    yield DockerWorkspaces(client, "ours")
    await client.close()


async def test_a_first_start_makes_the_volume_and_a_later_one_finds_it(
    workspaces: DockerWorkspaces, engine: VolumeEngine
) -> None:
    for _ in range(2):
        await workspaces.claim(FIRST)
    [labels] = engine.volumes.values()
    assert (labels[INSTANCE], labels[SESSION]) == ("ours", str(FIRST.session_id))
    assert await workspaces.exists(FIRST.session_id)


async def test_a_volume_that_is_gone_is_not_replaced(workspaces: DockerWorkspaces, engine: VolumeEngine) -> None:
    with pytest.raises(WorkspaceLostError):
        await workspaces.claim(LATER)
    assert engine.volumes == {}


async def test_a_volume_that_the_engine_made_in_place_of_a_lost_one_is_none(
    workspaces: DockerWorkspaces, engine: VolumeEngine
) -> None:
    engine.put(LATER.session_id, **{INSTANCE: "ours", REPLACEMENT: "yes"})
    with pytest.raises(WorkspaceLostError):
        await workspaces.claim(LATER)
    assert not await workspaces.exists(LATER.session_id)
    assert await workspaces.kept() == []


@pytest.mark.parametrize("labels", [{INSTANCE: "theirs"}, {SESSION: str(uuid4())}])
async def test_a_foreign_volume_is_never_used_nor_erased(
    workspaces: DockerWorkspaces, engine: VolumeEngine, labels: dict[str, str]
) -> None:
    for spec in (FIRST, LATER):
        engine.put(spec.session_id, **labels)
        with pytest.raises(RefusedError, match="installation"):
            await workspaces.claim(spec)
        with pytest.raises(RefusedError, match="installation"):
            await workspaces.erase(spec.session_id)
        assert not await workspaces.exists(spec.session_id)
    assert await workspaces.kept() == []
    assert len(engine.volumes) == 2


async def test_a_volume_without_labels_is_recognised_by_its_name(
    workspaces: DockerWorkspaces, engine: VolumeEngine
) -> None:
    engine.put(LATER.session_id)
    await workspaces.claim(LATER)
    assert await workspaces.kept() == [LATER.session_id]
    await workspaces.erase(LATER.session_id)
    assert engine.volumes == {}
