"""Runs the proxy until SIGTERM or SIGINT: `python -m jelmore_engine_proxy`; with `health`, asks the running one."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

import aiohttp
import structlog

from jelmore_engine_proxy.proxy import EngineProxy
from jelmore_engine_proxy.settings import DEFAULT_LISTEN, Settings, SettingsError, read_settings

_ASK_S: Final = 4.0


def main() -> int:
    """Run the proxy; return the exit status. Every expected failure is one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="jelmore_engine_proxy", description="An allow list before the engine's socket."
    )
    parser.add_argument("what", nargs="?", choices=["serve", "health"], default="serve")
    parser.add_argument("--listen", type=Path, default=DEFAULT_LISTEN, help="the proxy's own socket")
    chosen = parser.parse_args()
    try:
        settings = read_settings(os.environ, chosen.listen)
        if chosen.what == "health":
            return asyncio.run(ask_health(settings))
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ]
        )
        return asyncio.run(run(settings))
    except SettingsError as error:
        print(f"jelmore-engine-proxy: {error}", file=sys.stderr)  # noqa: T201 - a command talks to a person
        return 2
    except OSError as error:
        print(f"jelmore-engine-proxy: {error.filename or chosen.listen}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1


async def run(settings: Settings) -> int:
    """Serve until a signal arrives; return the exit status. Raises OSError and SettingsError."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    proxy = EngineProxy(settings)
    try:
        await proxy.open()
        structlog.get_logger("jelmore_engine_proxy").info("ready", engine=settings.engine, listen=str(settings.listen))
        await ended.wait()
    finally:
        await proxy.close()
    return 0


async def ask_health(settings: Settings) -> int:
    """Print what the engine says through the running proxy; return 0 when it answers, else 1."""
    connector, timeout = aiohttp.UnixConnector(str(settings.listen)), aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.get("http://engine/_ping") as response,
        ):
            print((await response.text()).strip())  # noqa: T201
            return 0 if response.ok else 1
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        print(f"jelmore-engine-proxy: no answer: {str(error) or type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())
