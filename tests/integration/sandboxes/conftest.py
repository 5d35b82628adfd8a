"""Docker, and small images that behave badly on purpose."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.docker_images import AGENT_USERS
from jelmore.drivers.docker_options import WantedOptions
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths
from tests.support.engine_relay import ENGINE_SOCKET, OCI_RUNTIME, RUNNER_IMAGE, EngineRelay

ENGINE = EngineAddress(f"unix://{ENGINE_SOCKET}")
IMAGE = RUNNER_IMAGE
WANTED = WantedOptions(runtime=OCI_RUNTIME)

type MakeSandboxes = Callable[..., DockerSandboxes]


@pytest.fixture
def run_paths() -> Iterator[RunPaths]:
    folder = Path(tempfile.mkdtemp(prefix="jm-"))  # short: socket paths are
    yield RunPaths(folder / "run")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    made = DockerEngine(ENGINE)
    yield made
    await made.close()


@pytest.fixture
async def make(run_paths: RunPaths) -> AsyncIterator[MakeSandboxes]:
    """Make sandboxes of one installation of this test's own; all of it is erased at the end."""
    instance, made = f"test-{uuid4().hex[:8]}", list[DockerSandboxes]()

    def build(
        address: EngineAddress = ENGINE,
        image: str = IMAGE,
        wanted: WantedOptions = WANTED,
        kind: type[DockerSandboxes] = DockerSandboxes,
    ) -> DockerSandboxes:
        made.append(kind(address, image=image, instance=instance, paths=run_paths, wanted=wanted))
        return made[-1]

    yield build
    sweeper = build()
    for found in await sweeper.found():
        await sweeper.remove(found.sandbox.id)
    for session_id in await sweeper.kept():
        await sweeper.erase(session_id)
    for each in made:
        await each.close()


@pytest.fixture
async def image_that(engine: DockerEngine) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Make an image of the base whose containers run a line of shell. Name it before `make`."""
    tags = list[str]()

    async def build(script: str) -> str:
        tag = uuid4().hex
        body = {"Image": "debian:trixie-slim", "Cmd": ["true"], "Entrypoint": ["/bin/sh", "-c", script]}
        made = await engine.call("POST", "containers/create", body=body)
        params = {"container": made["Id"], "repo": "jelmore-test", "tag": tag}
        config = {"Entrypoint": ["/bin/sh", "-c", script], "Labels": {AGENT_USERS: "1"}}
        await engine.call("POST", "commit", params=params, body=config)
        await engine.call("DELETE", f"containers/{made['Id']}", params={"force": True, "v": True})
        tags.append(f"jelmore-test:{tag}")
        return tags[-1]

    yield build
    for tag in tags:
        await engine.call("DELETE", f"images/{tag}", params={"force": True})


@pytest.fixture
async def relay(run_paths: RunPaths) -> AsyncIterator[EngineRelay]:
    run_paths.prepare()
    made = EngineRelay(run_paths.run_dir / "docker.sock")
    await made.lead()
    yield made
    await made.cut()
