"""Cleanup at the end of the quick start, so that Ctrl-C leaves no process and no container behind."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore.bootstrap import make_sandboxes
from jelmore.control.pool import was_used
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress, EngineError
from jelmore.drivers.postgres_pool import PostgresPool
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import Sandboxes
from jelmore.session.errors import ConflictError, JelmoreError
from jelmore.session.record import Detail
from jelmore.session.states import Fact
from jelmore.session.world import Sandbox
from jelmore.settings import Settings
from jelmore_protocol.control import Phase, Stop

_GRACE_S: Final = 5.0
_PATIENCE_S: Final = 8.0
_ENGINE_S: Final = 15.0


async def release_sessions(environment: Mapping[str, str]) -> None:
    """End the agent of every session cleanly and remove its container. The next start resumes each session.

    Call it after the manager has ended and while PostgreSQL runs. A release is not counted as a crash.
    """
    before = dict(os.environ)
    os.environ.update(environment)  # the manager's own settings, not this process's
    try:
        settings = Settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
    sandboxes, runners = make_sandboxes(settings), RunnerLink()
    store = PostgresStore(settings.database_url.get_secret_value())
    pool = PostgresPool(settings.database_url.get_secret_value())
    try:
        found = await sandboxes.found()
        await asyncio.gather(*(_release(sandboxes, runners, each.sandbox) for each in found))
        await _note(store, [each.session_id for each in found])
        await _remove_members(sandboxes, pool)
    except JelmoreError:
        return  # the engine is not running, so no container is
    finally:
        await runners.close()
        await sandboxes.close()
        await store.close()
        await pool.close()


async def _remove_members(sandboxes: Sandboxes, pool: PostgresPool) -> None:
    """Remove the volumes and rows of the warm pool. The gateway forgets what has no row at the next start."""
    for member in await pool.members():
        await pool.retire(member.id)
        with suppress(ConflictError):  # its container is still being removed; the next start removes the rest
            if not await was_used(sandboxes, member.id):
                await sandboxes.erase(member.id)
            await pool.forget(member.id)


async def _note(store: PostgresStore, session_ids: Sequence[UUID]) -> None:
    for session in (await store.load_many(session_ids)).values():
        if not session.ended and session.container_id is not None:
            await store.save(*session.after(Fact.CONTAINER_LOST, datetime.now(UTC), Detail(reason="released")))


async def _release(sandboxes: Sandboxes, runners: RunnerLink, sandbox: Sandbox) -> None:
    at = sandbox.control
    with suppress(JelmoreError, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await sandboxes.unpause(sandbox.id)
            if at is not None:
                await runners.stop(at, Stop(reason="the quick start was stopped", grace_s=_GRACE_S, final=False))
                while (await runners.health(at)).phase is not Phase.ENDED:
                    await asyncio.sleep(0.1)
    with suppress(JelmoreError):
        await sandboxes.remove(sandbox.id)


async def stop_own_engine(data_dir: Path) -> bool:
    """Stop the Docker daemon that the setup started for this checkout, unless containers of others run in it.

    Returns whether it was stopped. May run twice.
    """
    pid_file = data_dir / "dockerd" / "pid"
    try:
        pid = int(pid_file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != "dockerd":
            return False
    except (OSError, ValueError):
        return False
    engine = DockerEngine(EngineAddress(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"))
    try:
        if await engine.call("GET", "containers/json"):
            return False
    except (JelmoreError, EngineError):
        return False
    finally:
        await engine.close()
    with suppress(ProcessLookupError, TimeoutError):
        os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(_ENGINE_S):
            while Path(f"/proc/{pid}").exists():
                await asyncio.sleep(0.1)
        pid_file.unlink(missing_ok=True)
    return True
