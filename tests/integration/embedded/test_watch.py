"""What the watch over a server of the quick start survives: it is the only one that starts the server again."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from jelmore.drivers.nats_events import NatsEvents
from jelmore.embedded import Nats, Service, service
from jelmore.embedded.service import MAX_LOG_BYTES, backoff_s
from jelmore.ports import StoredEvent
from jelmore.session.errors import DependencyError
from tests.support.records import MOMENT
from tests.support.waiting import until

pytestmark = pytest.mark.integration


class Idler(Service):
    """A server that does nothing, or ends at once. `failures` are raised by its next checks, one each."""

    name = "idler"
    words = ("sleep", "60")

    def __init__(self, folder: Path, sockets: Path) -> None:
        super().__init__(folder, sockets)
        self.failures: list[Exception] = []

    async def prepare(self) -> None:
        """Write nothing."""

    def command(self) -> list[str]:
        return [shutil.which(self.words[0]) or "", *self.words[1:]]

    async def answers(self) -> bool:
        if self.failures:
            raise self.failures.pop()
        return True


class Stumbler(Idler):
    """It answers and ends."""

    words = ("sleep", "0.05")


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_pause_stays_bounded_however_long_a_server_does_not_start() -> None:
    assert backoff_s(0) == 0
    assert [backoff_s(count) for count in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert backoff_s(10_000) == 5.0, "2.0**1024 is no float: the watch ended after hours on a full disk"


async def test_a_server_is_started_again_after_whatever_went_wrong(tmp_path: Path) -> None:
    async with Idler(tmp_path / "data", tmp_path) as server:
        before = server.pid
        server.failures = [ValueError("an answer that nobody expected")]
        await server.kill()
        await until(lambda: server.pid not in {None, before}, what="another process")
        await until(lambda: not server.failures, what="the answer")
        await asyncio.sleep(0.1)
        await server.kill()  # the watch is still there
        await until(lambda: server.restarts == 1, what="another start")


async def test_a_log_that_cannot_be_copied_is_cut_and_its_server_watched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Idler(tmp_path / "data", tmp_path) as server:
        monkeypatch.setattr(shutil, "copyfile", full)
        server.log_path.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
        await server.kill()
        await until(lambda: server.restarts == 1, what="another start")
        assert server.log_path.stat().st_size < MAX_LOG_BYTES
        monkeypatch.setattr(os, "truncate", full)  # a read-only file system
        server.log_path.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
        await server.kill()
        await until(lambda: server.restarts == 2, what="another start")


async def test_a_server_that_answers_and_ends_is_not_started_without_a_pause(tmp_path: Path) -> None:
    async with Stumbler(tmp_path / "data", tmp_path) as server:
        await asyncio.sleep(2)
        assert 1 <= server.restarts <= 4


def large(seq: int) -> StoredEvent:
    return StoredEvent(UUID(int=7), seq, "command.executed", MOMENT, {"result": "x" * 20_000}, None, 1)


@pytest.fixture
def small_disk(short_folder: Path) -> Iterator[Path]:
    """A folder on a file system of 8 MiB."""
    folder = short_folder / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can make a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_nats_takes_events_again_once_a_full_disk_has_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of JetStream that could not be written stays closed for events, and its server seems to be well."""
    monkeypatch.setattr(service, "_LOG_CHECK_INTERVAL_S", 0.3)
    async with Nats(small_disk / "data", small_disk / "s") as server:
        events = NatsEvents(server.url, instance="test", timeout_s=1)
        await events.connect()
        assert await events.publish([large(1)]) == 1
        with suppress(OSError), (small_disk / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(DependencyError):
            await events.publish([large(2)])
        with pytest.raises(DependencyError, match=r"takes no events .* restarted"):
            await events.check()
        assert server.restarts == 0, "there is no room yet"
        (small_disk / "fill").unlink()
        await until(lambda: server.restarts == 1, what="another start")
        assert await events.publish([large(2)]) == 1
        await events.check()
        await events.close()
