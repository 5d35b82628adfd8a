"""Runs stdio MCP servers until SIGTERM or SIGINT: `python -m jelmore_gateway.stdio`."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from jelmore_gateway.logs import configure
from jelmore_gateway.protected_memory import protect_memory
from jelmore_gateway.settings import SettingsError, read_level
from jelmore_gateway.stdio.config import ConfigError, StdioConfig, read_config
from jelmore_gateway.stdio.host import Host
from jelmore_gateway.stdio.users import NUMBER, Users, may_choose, range_exists
from jelmore_protocol.gateway import LOCAL_SOCKET

SOCKET_MODE: Final = 0o660
"""The gateway may run as another user of the same group. The servers are of no such group."""

MAX_PROCESSES: Final = 64
FIRST_USER: Final = 66_000
"""Debian gives users ids below 60000, systemd up to 65519, and subordinate ids begin at 100000."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of this process."""

    socket: Path
    config: StdioConfig
    max_processes: int
    first_user: int | None  # of the ids of servers; None: they run as this process's own
    log_level: str


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings in `environ`. Raises SettingsError that names the variable."""
    named = environ.get("JELMORE_MCP_SERVERS_FILE")
    if not named:
        raise SettingsError("JELMORE_MCP_SERVERS_FILE: is not set; it names the file of the stdio MCP servers")
    try:
        config = read_config(Path(named).expanduser())
    except ConfigError as error:
        raise SettingsError(f"JELMORE_MCP_SERVERS_FILE: {error}") from None
    text = environ.get("JELMORE_MCP_SERVERS_MAX") or str(MAX_PROCESSES)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 10_000):  # noqa: PLR2004
        raise SettingsError(f"JELMORE_MCP_SERVERS_MAX: {text!r} is not a number from 1 to 10000")
    folder = Path(environ.get("JELMORE_RUN_DIR") or "/run/jelmore").expanduser().absolute() / "mcp"
    return Settings(
        socket=folder / LOCAL_SOCKET,
        config=config,
        max_processes=int(text),
        first_user=_first_user(environ) if may_choose() else None,
        log_level=read_level(environ),
    )


def _first_user(environ: Mapping[str, str]) -> int:
    text = environ.get("JELMORE_MCP_SERVERS_UID") or str(FIRST_USER)
    if not (text.isascii() and text.isdecimal() and 1000 <= int(text) < 2**31 - NUMBER):  # noqa: PLR2004
        raise SettingsError(f"JELMORE_MCP_SERVERS_UID: {text!r} is no user id from 1000 on")
    if not range_exists(int(text)):
        raise SettingsError(f"JELMORE_MCP_SERVERS_UID: not all ids {text} to {int(text) + NUMBER - 1} exist here")
    return int(text)


def main() -> int:
    """Run the servers; return the exit status. Every expected failure is one line on standard error."""
    try:
        settings = read_settings(os.environ)
        protect_memory()  # credentials come with calls, and go to the servers, which inherit that no core is written
        configure(settings.log_level)
        return asyncio.run(run(settings))
    except (SettingsError, OSError) as error:
        print(f"jelmore-mcp: {error}", file=sys.stderr)  # noqa: T201 - a command talks to a person
        return 2


async def run(settings: Settings) -> int:
    """Serve until a signal arrives; return the exit status. Raises OSError."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    settings.socket.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    users = None if settings.first_user is None else Users(settings.first_user)
    host = Host(settings.config, max_processes=settings.max_processes, users=users)
    runner = host.runner()
    await runner.setup()
    settings.socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(settings.socket)).start()
    settings.socket.chmod(SOCKET_MODE)
    sweeping = asyncio.create_task(host.run(), name="idle mcp servers")
    _log.info("mcp_host_ready", servers=sorted(settings.config.mcpServers))
    try:
        await ended.wait()
    finally:
        sweeping.cancel()
        settings.socket.unlink(missing_ok=True)
        await host.close()
        await runner.cleanup()
        await host.close()  # of a start that was under way
    return 0


if __name__ == "__main__":
    sys.exit(main())
