"""The commands `backup`, `restore` and `uninstall`: an installation into one file, out of it, and off the machine."""

import asyncio
import fcntl
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jelmore import __version__
from jelmore.bootstrap.drivers import make_sandboxes
from jelmore.drivers import postgres_backup
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.drivers.paths import MANAGER_SLOTS, RunPaths
from jelmore.drivers.volume_backup import DockerVolumes, LocalVolumes, TooLargeError, TornError, Volumes
from jelmore.quick_start import owns_database
from jelmore.serve import ask_health
from jelmore.session.errors import DependencyError, JelmoreError, RefusedError
from jelmore.settings import Settings
from jelmore.working_folder import working_folder

FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"

type Say = Callable[[str], None]


async def backup(settings: Settings, target: Path, say: Say) -> None:
    """Write the database and every workspace into one tar file. Managers may run; drain them for a quiet moment.

    The database comes first: what a session does afterwards is in its journal, and is read from there after a restore.
    A workspace for which there is no room, or that the engine does not send whole, is left out; the backup is written
    all the same, then RefusedError names it.
    The file appears when it is complete and on the disk. Raises RefusedError when there is no room for it.
    """
    if target.exists():
        raise RefusedError("backup", f"{target} exists already")
    url, volumes = settings.database_url.get_secret_value(), _volumes(settings)
    try:
        with working_folder(target, ".backup-", "backup") as folder:
            saved = await postgres_backup.save(url, folder)
            say(f"installation: {settings.instance}")
            say(f"database: {len(saved['tables'])} tables")
            partial = folder / "backup.tar"
            with tarfile.open(partial, "w") as archive:
                for table in saved["tables"]:
                    archive.add(folder / f"{table}.copy", f"database/{table}.copy")
                    (folder / f"{table}.copy").unlink()
                sessions = await volumes.kept()
                _check_complete(settings, set(sessions), await postgres_backup.live_sessions(url), say)
                kept, left_out = list[UUID](), list[str]()
                for session_id in sessions:
                    try:
                        if await _save_workspace(volumes, session_id, folder, archive, say, _room(settings, folder)):
                            kept.append(session_id)
                    except TooLargeError:
                        left_out.append(f"{session_id} (no room; a file with holes counts as its whole size)")
                    except TornError:
                        left_out.append(f"{session_id} (its files become shorter while they are read; drain first)")
                _add_manifest(archive, folder, {**saved, **_about(settings), "volumes": list(map(str, kept))})
            partial.chmod(0o600)  # it holds the signing key
            await asyncio.to_thread(_sync, partial)
            partial.rename(target)
            await asyncio.to_thread(_sync, target.absolute().parent)
            if left_out:
                raise RefusedError(
                    "backup",
                    f"{target} is written without the workspaces of {', '.join(left_out)}",
                )
    finally:
        await volumes.close()


async def _save_workspace(
    volumes: Volumes, session_id: UUID, folder: Path, archive: tarfile.TarFile, say: Say, most_bytes: int
) -> bool:
    """Add a workspace to the archive; return whether it was still there.

    Raises TooLargeError above `most_bytes`, and TornError.
    """
    file = folder / "volume.tar"
    try:
        if not await volumes.save(session_id, file, most_bytes):
            say(f"workspace erased meanwhile: {session_id}")
            return False
        archive.add(file, f"volumes/{session_id}.tar")
    except TooLargeError:
        say(f"workspace left out: {session_id}: larger than {most_bytes} bytes, for which there is room")
        raise
    except TornError:
        say(f"workspace left out: {session_id}: the engine ends in the middle of it, because a file becomes shorter")
        raise
    finally:
        file.unlink(missing_ok=True)
    say(f"workspace: {session_id}")
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def restore(settings: Settings, source: Path, say: Say, *, embedded: bool) -> None:
    """Load a backup into an empty database and onto a machine without its workspaces. No manager may run.

    With `embedded`, starts the quick start's own PostgreSQL meanwhile. Raises RefusedError when something is there
    already; nothing is replaced.
    """
    async with _stopped(settings):
        if not embedded:
            await _restore(settings, settings.database_url.get_secret_value(), source, say)
            return
        from jelmore.embedded import Postgres

        with tempfile.TemporaryDirectory(prefix="jr") as sockets:
            async with Postgres(settings.data_dir / "postgres", Path(sockets)) as server:
                await _restore(settings, server.url, source, say)


async def _restore(settings: Settings, url: str, source: Path, say: Say) -> None:
    """Restore the workspaces, then the database in one transaction: without it, no manager starts on half a restore."""
    volumes = _volumes(settings)
    try:
        with _opened(source) as archive, working_folder(source, ".restore-", "restore") as folder:
            manifest = _manifest(archive)
            there = set(map(str, await volumes.taken())) & set(manifest["volumes"])
            if there:
                raise RefusedError(
                    "restore",
                    f"workspaces of the backup exist already: {', '.join(sorted(there)[:3])}. If they are what a "
                    "killed restore left, and nothing else is here, remove them first: uninstall --yes --data",
                )
            await postgres_backup.prepare(url, manifest)
            for table in manifest["tables"]:
                _extract(archive, f"database/{table}.copy", folder / f"{table}.copy")
            made: list[UUID] = []
            try:
                for session_id in map(UUID, manifest["volumes"]):
                    file = folder / "volume.tar"
                    _extract(archive, f"volumes/{session_id}.tar", file)
                    await volumes.restore(session_id, file)
                    made.append(session_id)
                    file.unlink()
                    say(f"workspace: {session_id}")
                await postgres_backup.load(url, folder, manifest, made.clear)  # from then on they belong to sessions
            except BaseException:
                for session_id in made:
                    with suppress(JelmoreError):
                        await volumes.remove(session_id)
                raise
            say(f"database: {len(manifest['tables'])} tables")
    finally:
        await volumes.close()


async def uninstall(settings: Settings, say: Say, *, really: bool, data: bool) -> None:
    """Remove this installation's containers and sockets, with `data` also workspaces, database and files.

    Without `really`, only says what would be removed. No manager may run.
    """
    async with AsyncExitStack() as stopped:
        if really:
            await stopped.enter_async_context(_stopped(settings))
        await _uninstall(settings, say, really=really, data=data)


async def _uninstall(settings: Settings, say: Say, *, really: bool, data: bool) -> None:
    say(f"installation {settings.instance}")
    in_folder = owns_database(settings)
    sandboxes = make_sandboxes(settings)
    try:
        for found in await sandboxes.found():
            say(f"sandbox of session {found.session_id}")
            if really:
                await sandboxes.remove(found.sandbox.id)
        for leftover in await sandboxes.leftovers():
            say(f"{leftover.kind} {leftover.name}")
            if really and leftover.removable:
                await sandboxes.clear(leftover)
        for session_id in await sandboxes.kept() if data else ():
            say(f"workspace of session {session_id}")
            if really:
                await sandboxes.erase(session_id)
    finally:
        await sandboxes.close()
    for folder in (settings.run_dir, *([settings.data_dir] if data else [])):
        if folder.exists():
            say(f"folder {folder}")
            if really:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if data and not in_folder:
        say("the database that DATABASE_URL names")
        if really:
            try:
                await postgres_backup.drop(settings.database_url.get_secret_value())
            except DependencyError as error:
                say(f"the database stays: {error}")


def _room(settings: Settings, folder: Path) -> int:
    """Return how many bytes one workspace may have: it is there twice, and the host keeps what sessions need."""
    return max(0, shutil.disk_usage(folder).free - settings.min_free_disk_bytes) // 2


def _check_complete(settings: Settings, there: AbstractSet[UUID], live: AbstractSet[UUID], say: Say) -> None:
    """Say which live sessions have no workspace. Raises RefusedError when none has one: it is another's engine."""
    missing = live - there
    if live and missing == live:
        raise RefusedError(
            "backup",
            f"none of the {len(live)} live sessions of this database has a workspace of the installation "
            f"{settings.instance!r} on this engine: set JELMORE_INSTANCE and DOCKER_HOST as the manager has them",
        )
    for session_id in sorted(missing):
        say(f"workspace missing: {session_id}")


def _volumes(settings: Settings) -> Volumes:
    if settings.runtime == "local":
        return LocalVolumes(settings.data_dir)
    address = EngineAddress(settings.docker_host, settings.docker_cert_path if settings.docker_tls_verify else None)
    return DockerVolumes(DockerEngine(address), image=settings.runner_image, instance=settings.instance)


def _about(settings: Settings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "instance": settings.instance,
        "runtime": settings.runtime,
        "made_at": datetime.now(UTC).isoformat(),
    }


def _add_manifest(archive: tarfile.TarFile, folder: Path, manifest: dict[str, Any]) -> None:
    """Add the manifest, last: a backup without it is not complete."""
    file = folder / _MANIFEST
    file.write_text(json.dumps(manifest, indent=1), "utf-8")
    archive.add(file, _MANIFEST)


def _opened(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source, "r:")
    except (OSError, tarfile.TarError) as error:
        raise RefusedError("restore", f"{source} is not a backup: {error}") from None


def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    try:
        file = archive.extractfile(_MANIFEST)
        manifest: dict[str, Any] = json.load(file) if file else {}
    except (KeyError, ValueError, tarfile.TarError):
        manifest = {}
    if manifest.get("format") != FORMAT:
        raise RefusedError("restore", "the file is not a complete backup of a format that this version reads")
    return manifest


def _extract(archive: tarfile.TarFile, member: str, target: Path) -> None:
    try:
        file = archive.extractfile(member)
    except KeyError:
        file = None
    if file is None:
        raise RefusedError("restore", f"the backup lacks {member}")
    with file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1024 * 1024)


@asynccontextmanager
async def _stopped(settings: Settings) -> AsyncIterator[None]:
    """Keep managers from starting meanwhile. Raises RefusedError when one runs, also one that hangs or starts."""
    report = await ask_health(settings)
    if report.get("status") != "down":
        raise RefusedError("manager", f"a manager of {settings.run_dir} runs; stop it first")
    paths = RunPaths(settings.run_dir)
    locks = [paths.manager_lock(slot) for slot in range(MANAGER_SLOTS)] if paths.managers.is_dir() else []
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(_claimed(lock, f"a manager of {settings.run_dir} starts, or hangs; end it first"))
        for lock in settings.data_dir.glob("*/lock"):  # of the servers of a quick start
            with _claimed(lock, f"the quick start of {settings.data_dir} runs; stop it first"):
                pass
        yield


@contextmanager
def _claimed(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock. Raises RefusedError saying `otherwise` while another process holds it."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # another user's: that process is for its owner to look at
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("manager", otherwise) from None
        yield
    finally:
        os.close(descriptor)
