"""Runs one manager as a process, with uvicorn on the manager's unix socket, and asks a manager for its health."""

import fcntl
import os
import resource
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any, Final

import aiohttp

from jelmore.api.serving import Server, server_config
from jelmore.api.stream_limits import allow_many_files
from jelmore.bootstrap import make_app
from jelmore.drivers.paths import MANAGER_SLOTS, RunPaths
from jelmore.ports import Sandboxes
from jelmore.session.errors import RefusedError
from jelmore.settings import Settings

_MAX_HEAD_BYTES: Final = 64 * 1024
_ASK_S: Final = 5


def serve(settings: Settings, sandboxes: Sandboxes | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. Sessions keep running without this process.

    `sandboxes` is used in place of the driver that the settings name.
    """
    allow_many_files()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its memory has keys, tokens and what people said
    paths = RunPaths(settings.run_dir)
    paths.prepare()
    slot, lock = claim_slot(paths, settings.manager_slot)
    socket = paths.manager_socket(slot)
    socket.unlink(missing_ok=True)  # left over from a killed manager
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = server.should_exit = True

    app = make_app(settings, slot, on_failure=fail, sandboxes=sandboxes)
    server = Server(server_config(app, uds=str(socket), h11_max_incomplete_event_size=_MAX_HEAD_BYTES))
    server.run()
    socket.unlink(missing_ok=True)
    os.close(lock)
    return 0 if server.started and not failed else 1


def claim_slot(paths: RunPaths, wanted: int | None) -> tuple[int, int]:
    """Return a slot that no running manager holds, and the descriptor of its lock. Raises RefusedError."""
    for slot in range(MANAGER_SLOTS) if wanted is None else [wanted]:
        lock = os.open(paths.manager_lock(slot), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.truncate(lock, 0)
        os.write(lock, gethostname().encode())  # the slot's host, for `ask_health`
        return slot, lock
    which = "every manager slot is" if wanted is None else f"JELMORE_MANAGER_SLOT={wanted} is"
    raise RefusedError("manager", f"{which} held by a running manager of {paths.run_dir}; stop one of them first")


async def ask_health(settings: Settings) -> dict[str, Any]:
    """Return the health of a manager of this run directory; `status` is `down` when none answers.

    If managers of this host (in a container: of this container) have claimed slots, only these are asked. Otherwise a
    manager that hangs would look healthy as long as one elsewhere is. With JELMORE_MANAGER_SLOT, only the manager in
    that slot is asked.
    """
    paths = RunPaths(settings.run_dir)
    slots = _slots_of_this_host(paths) if settings.manager_slot is None else [settings.manager_slot]
    for slot in slots or range(MANAGER_SLOTS):
        report = await _ask_slot(paths.manager_socket(slot))
        if report.get("status") != "down":
            return report
    return {"status": "down", "message": f"no manager answers below {paths.managers}"}


def _slots_of_this_host(paths: RunPaths) -> list[int]:
    """Return the slots that managers of this host claimed last. A killed manager may be among them."""
    found = []
    for slot in range(MANAGER_SLOTS):
        with suppress(OSError):
            if paths.manager_lock(slot).read_text("utf-8", "replace") == gethostname():
                found.append(slot)
    return found


async def _ask_slot(socket: Path) -> dict[str, Any]:
    ready = await _ask(socket, "/readyz")
    return ready if ready.get("status") != "ok" else await _ask(socket, "/health")


async def _ask(socket: Path, path: str) -> dict[str, Any]:
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.get(f"http://manager{path}") as answer,
        ):
            body: dict[str, Any] = await answer.json()
            return body
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return {"status": "down", "message": f"the manager does not answer: {str(error) or type(error).__name__}"}
