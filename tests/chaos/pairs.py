"""Two faults that meet: at once, in the first second of a start, or while something recovers from the first."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.chaos.faults import Fault, Scene, running_sandbox
from tests.chaos.installation import send
from tests.support.stack_quickstart import command

_START_S: Final = 20.0
_LOOK_S: Final = 0.02
_HELD_S: Final = 6.0


def _killed(*services: str) -> Callable[[Scene], Awaitable[None]]:
    """Kill the services in one moment."""

    async def inject(scene: Scene) -> None:
        send([pid for each in services for pid in scene.installation.processes(each)[:1]], signal.SIGKILL)

    return inject


def _killed_again(service: str, *, times: int, after_s: float) -> Callable[[Scene], Awaitable[None]]:
    """Kill the service, and each one that follows it, so long after its process is there."""

    async def inject(scene: Scene) -> None:
        for _ in range(times):
            pid = await _there(scene, service)
            await asyncio.sleep(after_s)
            send([pid], signal.SIGKILL)
            await _gone(pid)

    return inject


def _killed_while_hung(hung: str, *killed: str) -> Callable[[Scene], Awaitable[None]]:
    """Stop one service, kill others meanwhile, and let it continue while they recover."""

    async def inject(scene: Scene) -> None:
        stopped = scene.installation.signalled(hung, signal.SIGSTOP)
        try:
            await asyncio.sleep(_HELD_S / 3)
            for each in killed:
                send([await _there(scene, each)], signal.SIGKILL)
            await asyncio.sleep(_HELD_S)
        finally:
            send(stopped, signal.SIGCONT)

    return inject


async def _kill_parent(scene: Scene) -> None:
    """Kill the process that forks managers; the kernel kills the manager with it."""
    parent = int(Path(f"/proc/{await _there(scene, 'manager')}/stat").read_text().rpartition(")")[2].split()[1])
    assert "jelmore serve" in command(parent), command(parent)
    send([parent], signal.SIGKILL)


async def _runner_and_store(scene: Scene) -> None:
    """Lose the target's runner in the moment in which the store that would record it is lost."""
    sandbox = await running_sandbox(scene)
    send(scene.installation.processes("postgres")[:1], signal.SIGKILL)
    await asyncio.to_thread(scene.installation.kill_runner, sandbox)


async def _sandbox_while_no_manager(scene: Scene) -> None:
    """Remove the target's container while the manager hangs, and kill the manager before it can look."""
    sandbox = await running_sandbox(scene)
    stopped = scene.installation.signalled("manager", signal.SIGSTOP)
    await asyncio.to_thread(scene.installation.remove_box, sandbox)
    send(stopped, signal.SIGKILL)


async def _there(scene: Scene, service: str) -> int:
    async with asyncio.timeout(_START_S):
        while (pid := scene.installation.pid(service)) is None:
            await asyncio.sleep(_LOOK_S)
    return pid


async def _gone(pid: int) -> None:
    async with asyncio.timeout(_START_S):
        while _runs(pid):
            await asyncio.sleep(_LOOK_S)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


PAIRS: Final = (
    Fault("every store killed at once", _killed("postgres", "redis", "nats")),
    Fault("manager and postgres killed at once", _killed("manager", "postgres")),
    Fault("manager, caddy and gateway killed at once", _killed("manager", "caddy", "gateway")),
    Fault("the parent of managers killed", _kill_parent),
    Fault("manager killed as it starts, three times", _killed_again("manager", times=3, after_s=0.3)),
    Fault("postgres killed while it recovers", _killed_again("postgres", times=3, after_s=0.2)),
    Fault("gateway killed as it starts", _killed_again("gateway", times=2, after_s=0.3)),
    Fault("nats killed as it starts", _killed_again("nats", times=2, after_s=0.1)),
    Fault("manager killed while postgres hangs", _killed_while_hung("postgres", "manager")),
    Fault("postgres killed while the manager hangs", _killed_while_hung("manager", "postgres", "nats")),
    Fault("gateway killed while the manager hangs", _killed_while_hung("manager", "gateway", "redis")),
    Fault("caddy killed while postgres hangs", _killed_while_hung("postgres", "caddy")),
    Fault("runner and postgres killed at once", _runner_and_store, aimed=True),
    Fault("container removed while no manager looks", _sandbox_while_no_manager, engine=True, aimed=True),
)
"""For `make chaos`, beside the single faults, of which it also injects two at once by chance."""
