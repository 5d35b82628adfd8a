"""The runner's process: two servers, one runner, signal handling and an ordered shutdown."""

import asyncio
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Final

from jelmore_protocol.building import build_models
from jelmore_protocol.control import Stop
from jelmore_runner import processes
from jelmore_runner.agents import claude
from jelmore_runner.control_api import create_control_app
from jelmore_runner.public_api import create_public_app
from jelmore_runner.runner import Runner
from jelmore_runner.serving import Server, make_server, stop_server
from jelmore_runner.settings import Settings
from jelmore_runner.supervisor import Supervisor, TaskEndedError

REAP_EVERY_S: Final = 1.0
REAP_AT_ONCE: Final = 500
STOP_GRACE_S: Final = 8.0
STOP_DEADLINE_S: Final = 45.0
DRAIN_S: Final = 2.0
FILES_IDLE_S: Final = 300.0
AGENT_FIRST_S: Final = 1.0


def run(settings: Settings, control: socket.socket, public: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT and return the exit status."""
    try:
        return asyncio.run(_serve(settings, control, public))
    except TaskEndedError:
        traceback.print_exc()
        return 1


async def _serve(settings: Settings, control: socket.socket, public: socket.socket) -> int:
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    processes.become_subreaper()
    supervisor = Supervisor()
    runner = Runner(settings, supervisor, claude.create, claude.ahead(settings, supervisor))
    servers: list[tuple[Server, asyncio.Task[None], socket.socket]] = []
    for name, app, listener in (
        ("control server", create_control_app(runner), control),
        ("public server", create_public_app(runner), public),
    ):
        server = make_server(app)
        task = supervisor.start(name, server.serve(sockets=[listener]), may_end=True)
        servers.append((server, task, listener))
    supervisor.start("reaper", reap(runner))
    if settings.files_only:
        supervisor.start("idle", _end_when_idle(runner, signalled), may_end=True)
    else:
        supervisor.start("imports", _preload(runner), may_end=True)
    _say(f"listening, control {settings.control} public {settings.public}")
    status = await _until_stopped(supervisor, runner, signalled)
    for server, task, _ in servers:
        address = settings.control if task.get_name() == "control server" else settings.public
        await stop_server(server, task, address)
    await runner.preparation.end()
    await supervisor.end()
    return status


async def _preload(runner: Runner) -> None:
    """Import the SDK, and then, at the latest after `AGENT_FIRST_S`, what is needed once the agent is ready.

    Both would use the processor that the agent of a new session starts with.
    """
    await asyncio.to_thread(claude.preload)
    await runner.wait_started(AGENT_FIRST_S)
    await asyncio.to_thread(_build_rest)


def _build_rest() -> None:
    import jwt  # noqa: F401 - verifies the clients' tokens

    build_models()


async def _until_stopped(supervisor: Supervisor, runner: Runner, signalled: asyncio.Event) -> int:
    """Return 0 after an orderly end, 1 when a task failed or the agent did not end in time."""
    try:
        await supervisor.watch(signalled)
        _say("stopping")
        runner.stop(Stop(reason="runner_stopped", grace_s=STOP_GRACE_S, final=False))
        async with asyncio.timeout(STOP_DEADLINE_S):
            await supervisor.watch(runner.finished)
    except TaskEndedError:
        traceback.print_exc(file=sys.stdout)
        _say("ending: a task failed")
        return 1
    except TimeoutError:
        _say("the agent did not end in time")
        return 1
    await _drain(runner)
    return 0


async def _drain(runner: Runner) -> None:
    """Give subscribers up to `DRAIN_S` to receive what is left. Their own senders close them."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await runner.hub.empty.wait()


async def _end_when_idle(runner: Runner, signalled: asyncio.Event) -> None:
    """End the process when nobody has called a helper for `FILES_IDLE_S`: its manager is gone."""
    while (left_s := FILES_IDLE_S - runner.helpers.idle_s()) > 0:
        await asyncio.sleep(left_s)
    signalled.set()


async def reap(runner: Runner) -> None:
    """Reap adopted processes as they end, until cancelled: a zombie still counts towards the pids limit."""
    child_ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, child_ended.set)
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(REAP_EVERY_S):
                await child_ended.wait()
        child_ended.clear()
        # The pid of an agent that is being started is unknown, and it must not be reaped as an adopted process.
        # The same holds for a helper of the workspace and for a terminal.
        if (runner.agent_pid is not None or runner.finished.is_set()) and not (
            runner.helpers.starting or runner.spawns.starting
        ):
            while processes.reap_adopted(runner.agent_pid, REAP_AT_ONCE) == REAP_AT_ONCE:
                await asyncio.sleep(0)


def _say(text: str) -> None:
    print(f"runner: {text}", flush=True)  # noqa: T201 - the container's log
