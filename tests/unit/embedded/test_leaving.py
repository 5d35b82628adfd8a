"""What the quick start does with the Docker daemon that it had started, and what it says about it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from jelmore.embedded import quickstart
from jelmore.embedded.leaving import stop_own_engine
from jelmore.embedded.service import ServiceError
from jelmore.settings import Settings

NONE_RUN: Final = b"[]"


class Engine:
    """A daemon by the name of dockerd, and a socket that says which containers run."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.program = folder / "dockerd"
        self.socket = folder / "docker.sock"
        self.containers = NONE_RUN

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        body = self.containers if b"/containers/json" in asked else b'{"ApiVersion": "1.45"}'
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    made = Engine(tmp_path)
    shutil.copy("/bin/sleep", made.program)
    process = await asyncio.create_subprocess_exec(made.program, "60")
    pid_file = made.data_dir / "dockerd" / "pid"
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text(str(process.pid))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.socket}")
    async with await asyncio.start_unix_server(made.answer, made.socket):
        yield made
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_the_own_daemon_is_stopped_once(engine: Engine) -> None:
    assert await stop_own_engine(engine.data_dir) is True
    assert await stop_own_engine(engine.data_dir) is False


async def test_a_daemon_with_containers_of_others_stays(engine: Engine) -> None:
    engine.containers = b'[{"Id": "other"}]'
    assert await stop_own_engine(engine.data_dir) is False


@pytest.mark.parametrize("stopped", [True, False])
async def test_advice_that_needs_docker_can_be_followed_after_a_failed_start(
    stopped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def start(_: quickstart.Services) -> None:
        raise ServiceError("manager: … to give them up: docker volume rm …")

    async def stop(services: quickstart.Services) -> None:
        services.engine_stopped = stopped

    monkeypatch.setattr(quickstart.Services, "start", start)
    monkeypatch.setattr(quickstart.Services, "stop", stop)
    monkeypatch.setattr(quickstart, "_signals", asyncio.Event)
    monkeypatch.chdir(tmp_path)
    assert await quickstart.run(Settings(_env_file=None, data_dir=tmp_path / "data")) == 1
    shown = "".join(capsys.readouterr())
    assert "docker volume rm" in shown
    assert ("scripts/docker-engine starts it again" in shown) is stopped
    assert (Path(__file__).parents[3] / "scripts" / "docker-engine").exists()
    assert "Traceback" not in shown
