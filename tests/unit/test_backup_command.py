"""What a backup, a restore and an uninstall do when something is pulled away below them."""

import asyncio
import errno
import fcntl
import io
import json
import os
import tarfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import UUID

import pytest

from jelmore.backup_command import _restore, _stopped
from jelmore.drivers import postgres_backup, volume_backup
from jelmore.drivers.docker_engine import DockerEngine
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.volume_backup import DockerVolumes, LocalVolumes, TornError
from jelmore.session.errors import RefusedError
from jelmore.settings import Settings
from jelmore.working_folder import working_folder


def test_what_a_killed_command_left_is_removed_by_the_next_and_no_more(tmp_path: Path) -> None:
    killed, other = tmp_path / ".backup-killed", tmp_path / ".backups"
    for folder in (killed, other):
        folder.mkdir()
        (folder / "api_keys.copy").write_text("secret")
    with working_folder(tmp_path / "one.tar", ".backup-", "backup") as first:
        assert not killed.exists()
        with working_folder(tmp_path / "two.tar", ".backup-", "backup") as second:
            assert first.is_dir()
            assert second != first
    assert [path.name for path in tmp_path.iterdir()] == [".backups"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(RefusedError, match=rf"backup: .*jelmore.tar: {os.strerror(number)}"),
        working_folder(tmp_path / "jelmore.tar", ".backup-", "backup"),
    ):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(RefusedError, match=r"backup: .*/none/.*: No such file or directory"),
        working_folder(tmp_path / "none" / "jelmore.tar", ".backup-", "backup"),
    ):
        pass


@pytest.mark.parametrize(
    ("lock", "words"),
    [("run/manager/2.lock", "starts, or hangs"), ("data/postgres/lock", "the quick start of .* runs")],
)
async def test_what_hangs_or_starts_is_not_stopped(short_folder: Path, lock: str, words: str) -> None:
    """A stopped process answers no question, and would continue on what was restored or removed below it."""
    settings = Settings(_env_file=None, run_dir=short_folder / "run", data_dir=short_folder / "data")
    async with _stopped(settings):
        pass  # nothing is there yet
    RunPaths(settings.run_dir).prepare()
    (short_folder / lock).parent.mkdir(parents=True, exist_ok=True)
    held = os.open(short_folder / lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(RefusedError, match=words):
        async with _stopped(settings):
            pass
    os.close(held)
    async with _stopped(settings):
        with pytest.raises(BlockingIOError):
            fcntl.flock(os.open(settings.run_dir / "manager" / "0.lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_files_and_workspaces_that_go_meanwhile_do_not_end_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, gone = UUID(int=1), UUID(int=2)
    folder = tmp_path / "local" / str(one)
    (folder / "workspace").mkdir(parents=True)
    (folder / "workspace" / "kept").write_text("here")
    real = volume_backup._below

    def with_one_gone(path: Path, *more: Any) -> Iterator[Path]:
        yield path / "removed meanwhile"
        yield from real(path, *more)

    monkeypatch.setattr(volume_backup, "_below", with_one_gone)
    volumes = LocalVolumes(tmp_path)
    assert await volumes.save(one, tmp_path / "one.tar", 2**20)
    assert not await volumes.save(gone, tmp_path / "gone.tar", 2**20)
    await volumes.remove(one)
    assert await volumes.kept() == []
    await volumes.restore(one, tmp_path / "one.tar")
    assert (folder / "workspace" / "kept").read_text() == "here"


async def test_a_file_that_becomes_shorter_or_is_unreadable_does_not_end_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = UUID(int=1)
    folder = tmp_path / "local" / str(one)
    folder.mkdir(parents=True)
    for name in ("1-log", "2-secret", "3-kept"):
        (folder / name).write_text("content")
    real, opened = tarfile.TarFile.gettarinfo, Path.open

    def cut_off(archive: tarfile.TarFile, *given: Any, **more: Any) -> tarfile.TarInfo:
        found = real(archive, *given, **more)
        if found.name.endswith("1-log"):
            os.truncate(folder / "1-log", 3)
        return found

    def refused(path: Path, *given: Any) -> BinaryIO:
        if path.name == "2-secret":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return cast("BinaryIO", opened(path, *given))

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", cut_off)
    monkeypatch.setattr(Path, "open", refused)
    volumes = LocalVolumes(tmp_path)
    assert await volumes.save(one, tmp_path / "one.tar", 2**20)
    monkeypatch.undo()
    assert "1 files or folders left out" in caplog.text
    assert "2-secret" in caplog.text
    await volumes.remove(one)
    await volumes.restore(one, tmp_path / "one.tar")
    assert (folder / "1-log").read_bytes() == b"con\0\0\0\0"
    assert (folder / "3-kept").read_text() == "content"


class Engine:
    """An engine with one volume, which sends it whole or only to the middle of a file."""

    def __init__(self, cuts: list[int]) -> None:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            entry = tarfile.TarInfo("session/log")
            entry.size = 2000
            archive.addfile(entry, io.BytesIO(b"x" * 2000))
        self.whole = content.getvalue()
        self.cuts = cuts

    async def call(self, _method: str, path: str, **_: Any) -> dict[str, Any]:
        return {"Name": path.removeprefix("volumes/"), "Labels": {}}

    async def pieces(self, _path: str, **_: Any) -> AsyncGenerator[bytes]:
        yield self.whole[: self.cuts.pop(0)]


async def test_what_the_engine_ends_in_the_middle_is_no_backup(tmp_path: Path) -> None:
    one, target = UUID(int=1), tmp_path / "one.tar"
    for cuts, left in (([1500, 1500, 1500], None), ([1500, 9999, 1], [1])):
        engine = Engine(list(cuts))
        volumes = DockerVolumes(cast("DockerEngine", engine), image="image", instance="test")
        if left is None:
            with pytest.raises(TornError):
                await volumes.save(one, target, 2**20)
            continue
        assert await volumes.save(one, target, 2**20)
        assert engine.cuts == left
        with tarfile.open(target) as archive:
            assert archive.getnames() == ["session/log"]


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_a_restore_that_fails_after_the_database_is_loaded_keeps_the_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    """Ended between the commit and the migrations, it left sessions without workspaces."""
    one, source = UUID(int=1), tmp_path / "jelmore.tar"
    with tarfile.open(source, "w") as archive:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w") as volume:
            folder = tarfile.TarInfo("session")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o700
            volume.addfile(folder)
        manifest = json.dumps({"format": 1, "tables": {}, "migrations": [], "volumes": [str(one)]}).encode()
        for name, content in ((f"volumes/{one}.tar", inner.getvalue()), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    async def prepare(*_: object) -> None:
        """Do nothing."""

    async def load(_url: str, _folder: Path, _saved: object, loaded: Callable[[], None]) -> None:
        if is_loaded:
            loaded()
        raise asyncio.CancelledError

    monkeypatch.setattr(postgres_backup, "prepare", prepare)
    monkeypatch.setattr(postgres_backup, "load", load)
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", runtime="local")
    with pytest.raises(asyncio.CancelledError):
        await _restore(settings, "postgresql://nowhere", source, lambda _: None)
    assert (tmp_path / "data" / "local" / str(one)).is_dir() == is_loaded
