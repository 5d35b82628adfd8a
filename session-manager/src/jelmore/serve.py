"""One manager as a process: uvicorn on the manager's unix socket, and the question whether it is well."""

import asyncio
import contextlib
from typing import Any, Final

import aiohttp
import uvicorn

from jelmore.bootstrap import make_app
from jelmore.drivers.paths import RunPaths
from jelmore.settings import Settings
from jelmore_wire import MAX_INPUT_BYTES

_GRACE_S: Final = 5
_ASK_S: Final = 5


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. Sessions go on without this process."""
    paths = RunPaths(settings.run_dir)
    paths.prepare()
    socket = paths.manager_socket(settings.manager_slot)
    with contextlib.suppress(FileNotFoundError):
        socket.unlink()  # of a manager that was killed; a live one of this slot would be a wrong JELMORE_MANAGER_SLOT
    config = uvicorn.Config(
        make_app(settings),
        uds=str(socket),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=75,
        ws="websockets-sansio",
        ws_max_size=2 * MAX_INPUT_BYTES,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = uvicorn.Server(config)
    server.run()
    socket.unlink(missing_ok=True)
    return 0 if server.started else 1


async def ask_health(settings: Settings) -> dict[str, Any]:
    """Return what the manager of this machine says of its health; `status` is down when it does not answer."""
    connector = aiohttp.UnixConnector(str(RunPaths(settings.run_dir).manager_socket(settings.manager_slot)))
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.get("http://manager/health") as answer,
        ):
            body: dict[str, Any] = await answer.json()
            return body
    except (aiohttp.ClientError, TimeoutError, ValueError, asyncio.CancelledError) as error:
        return {"status": "down", "message": f"the manager does not answer: {error}"}
