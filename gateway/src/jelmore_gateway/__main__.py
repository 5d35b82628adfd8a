"""Runs the gateway until SIGTERM or SIGINT: `python -m jelmore_gateway`; with `health`, asks the running one."""

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Final

import aiohttp
import structlog
from aiohttp import web

from jelmore_gateway import __version__
from jelmore_gateway.control_api import control_app
from jelmore_gateway.gateway import Gateway
from jelmore_gateway.logs import configure
from jelmore_gateway.protected_memory import protect_memory
from jelmore_gateway.settings import Settings, SettingsError, read_settings
from jelmore_gateway.state import State, StateError
from jelmore_protocol.tracing import make_tracing

CONTROL_MODE: Final = 0o660
"""The manager may run as another user of the same group."""

_ASK_S: Final = 4.0
_LAST_SPANS_S: Final = 2.0

_log = structlog.get_logger(__name__)


def main() -> int:
    """Run the gateway; return the exit status. Every expected failure is one line on standard error."""
    try:
        settings = read_settings(os.environ)
        if sys.argv[1:] == ["health"]:
            return asyncio.run(ask_health(settings))
        configure(settings.log_level)
        protect_memory()
        _allow_many_files()
        return asyncio.run(run(settings))
    except (SettingsError, StateError) as error:
        print(f"jelmore-gateway: {error}", file=sys.stderr)  # noqa: T201 - a command talks to a person
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"jelmore-gateway: {where}{error.strerror}", file=sys.stderr)  # noqa: T201
        return 1


async def run(settings: Settings) -> int:
    """Serve until a signal arrives; return the exit status. Raises SettingsError when another gateway runs here."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_one(settings):
        state = State(settings.state_dir)
        traces = settings.traces
        tracing = make_tracing("jelmore-gateway", __version__, traces.endpoint, traces.headers, traces.ratio)
        gateway = Gateway(settings, state, tracing=tracing)
        control = web.AppRunner(control_app(gateway, state), access_log=None, handle_signals=False)
        try:
            await gateway.open()
            await control.setup()
            settings.control_socket.unlink(missing_ok=True)
            await web.UnixSite(control, str(settings.control_socket)).start()
            settings.control_socket.chmod(CONTROL_MODE)
            looking = [
                asyncio.create_task(gateway.probes.run(), name="route probes"),
                asyncio.create_task(gateway.local_servers.run(), name="stdio servers"),
            ]
            _log.info("gateway_ready", gateway=state.gateway, sandboxes=len(gateway.entries()))
            await ended.wait()
            for task in looking:
                task.cancel()
        finally:
            settings.control_socket.unlink(missing_ok=True)
            await control.cleanup()
            await gateway.close()
            await asyncio.to_thread(tracing.close, _LAST_SPANS_S)
    return 0


async def ask_health(settings: Settings) -> int:
    """Print the health of the gateway of this run directory; return 0 when it answers, else 1."""
    connector = aiohttp.UnixConnector(str(settings.control_socket))
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.get("http://gateway/health") as response,
        ):
            print(await response.text())  # noqa: T201
            return 0 if response.ok else 1
    except (aiohttp.ClientError, OSError, ValueError) as error:
        print(f"jelmore-gateway: it does not answer: {str(error) or type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    lock = os.open(settings.state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SettingsError(f"JELMORE_GATEWAY_STATE_DIR: another gateway uses {settings.state_dir}") from None
    finally:
        os.close(lock)


def _allow_many_files() -> None:
    """Raise the limit of open files to the highest that is allowed: each stream needs two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
