"""Docker, and small images that behave badly on purpose."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths

SOCKET = Path("/var/run/docker.sock")
ENGINE = EngineAddress(f"unix://{SOCKET}")
IMAGE = "jelmore/runner:latest"

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

    def build(address: EngineAddress = ENGINE, image: str = IMAGE) -> DockerSandboxes:
        made.append(DockerSandboxes(address, image=image, instance=instance, paths=run_paths))
        return made[-1]

    yield build
    sweeper = build()
    for session_id in {*await sweeper.kept(), *(found.session_id for found in await sweeper.found())}:
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
        await engine.call("POST", "commit", params=params, body={"Entrypoint": ["/bin/sh", "-c", script]})
        await engine.call("DELETE", f"containers/{made['Id']}", params={"force": True, "v": True})
        tags.append(f"jelmore-test:{tag}")
        return tags[-1]

    yield build
    for tag in tags:
        await engine.call("DELETE", f"images/{tag}", params={"force": True})


class Relay:
    """A unix socket that leads to the engine's and can be cut, so that nobody else's engine has to be restarted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._copies: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> EngineAddress:
        return EngineAddress(f"unix://{self.path}")

    async def lead(self) -> None:
        self._server = await asyncio.start_unix_server(self._join, str(self.path))

    async def cut(self) -> None:
        """Close everything; nobody listens any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        for writer in [*self._open]:
            writer.close()
        for copy in [*self._copies]:
            copy.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(SOCKET))
        self._open |= {writer, back}
        for source, target in ((reader, back), (there, writer)):
            copy = asyncio.create_task(self._copy(source, target), name="relay to the engine")
            self._copies.add(copy)
            copy.add_done_callback(self._copies.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()
            self._open.discard(target)


@pytest.fixture
async def relay(run_paths: RunPaths) -> AsyncIterator[Relay]:
    run_paths.prepare()
    made = Relay(run_paths.run_dir / "docker.sock")
    await made.lead()
    yield made
    await made.cut()
