"""The faults. Each knows how to happen, what `/health` must name meanwhile, and what it took away."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import httpx

from tests.chaos.dockerd import restart_dockerd
from tests.chaos.installation import Installation, send, wipe
from tests.chaos.notebook import Notebook
from tests.chaos.watch import Watch
from tests.chaos.workload import Busy

_NAMED_S: Final = 8.0
_SETTLED_S: Final = 2.0
_STOPPED_S: Final = 4.0
_READY_S: Final = 60.0


@dataclass(slots=True)
class Scene:
    """What a fault may touch: the installation, the session it was drawn for, and who watches."""

    installation: Installation
    target: Busy
    steady: Busy  # the session that never sleeps
    watch: Watch
    notebook: Notebook
    alone: bool  # whether everything was well before
    http: httpx.AsyncClient
    ended: set[str]  # sessions that a fault created and ended itself


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break something. `inject` returns when it has happened and, if it lasted, is over."""

    name: str
    inject: Callable[[Scene], Awaitable[None]]
    engine: bool = False  # needs containers
    aimed: bool = False  # hits the session it was drawn for, and no other


def _kill(service: str) -> Callable[[Scene], Awaitable[None]]:
    async def inject(scene: Scene) -> None:
        scene.installation.kill(service)

    return inject


def _hang(service: str, named: str) -> Callable[[Scene], Awaitable[None]]:
    """Stop the service until `/health` has named it, and only it; then let it continue."""

    async def inject(scene: Scene) -> None:
        if scene.alone:  # a report may be a second old: what the fault before took away may be missed only now
            await asyncio.sleep(_SETTLED_S)
        before = scene.watch.degraded_now()  # a pool that could not fill during a fault tries again after a pause
        stopped = scene.installation.signalled(service, signal.SIGSTOP)
        try:
            await _until_named(scene, named, before)
        finally:
            send(stopped, signal.SIGCONT)

    return inject


def _wiped(service: str, named: str, *folders: str) -> Callable[[Scene], Awaitable[None]]:
    """Stop the service, remove what it kept, and kill it: what comes back knows nothing."""

    async def inject(scene: Scene) -> None:
        stopped = scene.installation.signalled(service, signal.SIGSTOP)
        wipe(*(scene.installation.folder_of(service) / folder for folder in folders))
        send(stopped, signal.SIGKILL)

    return inject


async def _until_named(scene: Scene, named: str, before: frozenset[str]) -> None:
    since = scene.notebook.now_s()
    try:
        async with asyncio.timeout(_NAMED_S):
            while named not in (said := scene.watch.degraded_since(since)):
                await asyncio.sleep(0.1)
    except TimeoutError:
        scene.notebook.find(f"/health did not name {named} within {_NAMED_S} s of its standstill")
        return
    if scene.alone and said - before != {named} - before:
        scene.notebook.find(f"/health named {sorted(said)} while {named} stood still")
    scene.notebook.say(f"/health names {named} after {scene.notebook.now_s() - since:.1f} s")


async def _flush_redis(scene: Scene) -> None:
    await scene.watch.flush_redis()


async def _stop_manager(scene: Scene) -> None:
    stopped = scene.installation.signalled("manager", signal.SIGSTOP)
    await asyncio.sleep(_STOPPED_S)
    send(stopped, signal.SIGCONT)


async def _quit_postgres(scene: Scene) -> None:
    pid = scene.installation.pid("postgres")
    if pid is not None:
        send([pid], signal.SIGQUIT)


async def _kill_backend(scene: Scene) -> None:
    send(scene.installation.processes("postgres")[-1:], signal.SIGKILL)


async def running_sandbox(scene: Scene) -> str:
    """Return the target's running sandbox, waking it first if it sleeps."""
    for _ in range(20):
        if sandbox := await asyncio.to_thread(scene.installation.running_box, scene.target.id):
            return sandbox
        await scene.target.answers(30)
    raise AssertionError(f"{scene.target.id} has no running container")


async def _kill_runner(scene: Scene) -> None:
    await asyncio.to_thread(scene.installation.kill_runner, await running_sandbox(scene))


async def _remove_box(scene: Scene) -> None:
    await asyncio.to_thread(scene.installation.remove_box, await running_sandbox(scene))


async def _kill_agent(scene: Scene) -> None:
    """Kill the target's agent. A session that goes to sleep or wakes at this moment has none yet: look again."""
    for _ in range(20):
        pid = await asyncio.to_thread(scene.installation.agent, await running_sandbox(scene))
        if pid is not None:
            scene.target.agent_kills += 1
            send([pid], signal.SIGKILL)
            return
        await scene.target.answers(30)
    raise AssertionError(f"{scene.target.id} has no agent")


async def _stray_box(scene: Scene) -> None:
    stray = str(uuid4())
    await asyncio.to_thread(scene.installation.stray_box, stray)
    await _until_gone(scene, f"the stray container of {stray}", lambda: stray in scene.installation.sandboxes())


async def _stray_route(scene: Scene) -> None:
    stray = str(uuid4())
    scene.installation.stray_route(stray)
    await _until_gone(scene, f"the stray route of {stray}", lambda: stray in scene.installation.routes())


async def _until_gone(scene: Scene, what: str, there: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(_READY_S):
            while await asyncio.to_thread(there):
                await asyncio.sleep(0.3)
    except TimeoutError:
        scene.notebook.find(f"{what} was not swept up within {_READY_S} s")


def _two_managers(which: str) -> Callable[[Scene], Awaitable[None]]:
    async def inject(scene: Scene) -> None:
        """Start a second manager, let it settle, and end one of the two."""
        installation = scene.installation
        if installation.has_second:
            installation.end_second(signal.SIGTERM)
        installation.start_second()
        if not await scene.watch.serves(installation.second_socket, _READY_S):
            scene.notebook.find(f"a second manager was not ready within {_READY_S} s")
        if which == "first":
            installation.kill("manager")
        else:
            await asyncio.to_thread(installation.end_second, signal.SIGKILL)

    return inject


async def _end_second(scene: Scene) -> None:
    await asyncio.to_thread(scene.installation.end_second, signal.SIGTERM)


async def _restart_dockerd(scene: Scene) -> None:
    await asyncio.to_thread(restart_dockerd)


FAULTS: Final = (
    Fault("manager killed", _kill("manager")),
    Fault("manager stopped for a while", _stop_manager),
    Fault("runner killed", _kill_runner, aimed=True),
    Fault("agent killed", _kill_agent, aimed=True),
    Fault("container removed", _remove_box, engine=True, aimed=True),
    Fault("redis killed", _kill("redis")),
    Fault("redis hangs", _hang("redis", "redis")),
    Fault("redis wiped", _flush_redis),
    Fault("nats killed", _kill("nats")),
    Fault("nats hangs", _hang("nats", "nats")),
    Fault("nats wiped", _wiped("nats", "nats", "jetstream")),
    Fault("postgres killed", _kill("postgres")),
    Fault("postgres quits at once", _quit_postgres),
    Fault("postgres backend killed", _kill_backend),
    Fault("postgres hangs", _hang("postgres", "postgres")),
    Fault("caddy killed", _kill("caddy")),
    Fault("caddy hangs", _hang("caddy", "caddy")),
    Fault("caddy wiped", _wiped("caddy", "caddy", "config", "data")),
    Fault("stray container", _stray_box, engine=True),
    Fault("stray route", _stray_route),
    Fault("second of two managers killed", _two_managers("second")),
    Fault("first of two managers killed", _two_managers("first")),
    Fault("second manager leaves", _end_second),
)

DOCKERD: Final = Fault("dockerd restarted", _restart_dockerd, engine=True)
"""Only when asked for: the daemon may serve others too."""
