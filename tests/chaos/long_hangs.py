"""Parts that hang for long: meanwhile the work of every other part must continue."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from tests.chaos.faults import Fault, Scene, running_sandbox
from tests.chaos.installation import send
from tests.chaos.truth import rows
from tests.chaos.workload import Busy
from tests.support.stack_client import SESSIONS

_LONG_S: Final = 60.0
_BRIEF_S: Final = 20.0
_READY_S: Final = 60.0
_SERVES_S: Final = 8.0
_TURN_S: Final = 20.0
_TAKEN_OVER_S: Final = 60.0
"""Until the first turn with one of two managers gone: its leases run out after 12 s, then the other one relays."""

_READ_S: Final = 10.0
_ENDED_S: Final = 30.0


def _hang_long(
    *services: str,
    turns: bool = False,
    manager: bool = False,
    only_awake: bool = False,
    seconds: float = _LONG_S,
) -> Callable[[Scene], Awaitable[None]]:
    """Stop the services for a minute. With `turns`, prompts must be answered and stored meanwhile, one after another,
    also those of sleeping sessions unless `only_awake`; with `manager`, the manager must stay ready.
    """

    async def inject(scene: Scene) -> None:
        hung = " and ".join(services)
        stopped = [pid for each in services for pid in scene.installation.signalled(each, signal.SIGSTOP)]
        over_s = scene.notebook.now_s() + seconds
        try:
            while scene.notebook.now_s() < over_s:
                if turns:
                    await _turn_is_stored(scene, scene.steady if only_awake else scene.target, hung)
                if manager:
                    await _manager_is_ready(scene, hung)
                    await _reads_are_answered(scene, hung)
                await asyncio.sleep(1)
        finally:
            send(stopped, signal.SIGCONT)

    return inject


async def _hang_runner(scene: Scene) -> None:
    """Stop all in the target's sandbox for a minute: the manager must stay ready, and only that one be replaced."""
    others = set(await asyncio.to_thread(scene.installation.sandboxes)) - {scene.target.id}
    stopped = await asyncio.to_thread(scene.installation.inside, await running_sandbox(scene))
    send(stopped, signal.SIGSTOP)
    try:
        over_s = scene.notebook.now_s() + _LONG_S
        while scene.notebook.now_s() < over_s:
            await _manager_is_ready(scene, f"the runner of {scene.target.id}")
            await asyncio.sleep(1)
    finally:
        send(stopped, signal.SIGCONT)
    for lost in others - set(await asyncio.to_thread(scene.installation.sandboxes)):
        row = (await rows(scene.installation))[lost]
        if row["presence"] != "hibernated":
            scene.notebook.find(f"{lost} lost its sandbox while the runner of {scene.target.id} hung")


def _hang_gateway(seconds: float) -> Callable[[Scene], Awaitable[None]]:
    """Turns wait for the model. Inputs must be accepted and stored, reads answered, and a session must end."""

    async def inject(scene: Scene) -> None:
        made = await scene.http.post(SESSIONS, json={}, timeout=_READY_S)
        stopped = scene.installation.signalled("gateway", signal.SIGSTOP)
        over_s = scene.notebook.now_s() + seconds
        try:
            if made.status_code == 201:
                scene.ended.add(made.json()["id"])
                await _ends(scene, made.json()["id"])
            else:
                scene.notebook.say(f"no session to end: {made.status_code} {made.text[:200]}")
            while scene.notebook.now_s() < over_s:
                await _input_is_stored(scene, scene.steady)
                await _manager_is_ready(scene, "the gateway")
                await _reads_are_answered(scene, "the gateway")
                await asyncio.sleep(5)
        finally:
            send(stopped, signal.SIGCONT)

    return inject


def _hang_one_of_two(seconds: float) -> Callable[[Scene], Awaitable[None]]:
    """Stop the first of two managers: the second must relay its sessions too, and serve through the public address."""

    async def inject(scene: Scene) -> None:
        installation, hung = scene.installation, "one of two managers"
        if not installation.has_second:
            await asyncio.to_thread(installation.end_second, signal.SIGTERM)  # one that ended by itself
            installation.start_second()
        if not await scene.watch.serves(installation.second_socket, _READY_S):
            scene.notebook.find(f"a second manager was not ready within {_READY_S} s")
        stopped = installation.signalled("manager", signal.SIGSTOP)
        over_s = scene.notebook.now_s() + seconds
        try:
            await _turn_is_stored(scene, scene.steady, hung, _TAKEN_OVER_S)
            scene.notebook.say(f"a turn is stored {scene.notebook.now_s() - over_s + seconds:.1f} s after it hung")
            while scene.notebook.now_s() < over_s:
                await _turn_is_stored(scene, scene.target, hung, _TAKEN_OVER_S)
                if not await scene.watch.serves(installation.second_socket, _SERVES_S):
                    scene.notebook.find(f"the second manager was not ready within {_SERVES_S} s while the first hung")
                await _reads_are_answered(scene, hung)
                await asyncio.sleep(1)
        finally:
            send(stopped, signal.SIGCONT)

    return inject


async def _manager_is_ready(scene: Scene, hung: str) -> None:
    if not await scene.watch.serves(scene.installation.manager_sockets()[0], _SERVES_S):
        scene.notebook.find(f"the manager was not ready within {_SERVES_S} s while {hung} hung")


async def _reads_are_answered(scene: Scene, hung: str) -> None:
    """Ask the API as people do, through Caddy; or at the manager's own socket while Caddy hangs."""
    past_caddy = httpx.AsyncHTTPTransport(uds=str(scene.installation.manager_sockets()[0]))
    async with httpx.AsyncClient(
        base_url=scene.installation.url,
        headers={"X-API-Key": scene.installation.api_key},
        timeout=_READ_S,
        trust_env=False,
        transport=past_caddy if hung == "caddy" else None,
    ) as http:
        for path in (SESSIONS, scene.steady.path, f"{scene.steady.path}/output?limit=5", f"{SESSIONS}/stats"):
            try:
                answer = await http.get(path)
            except httpx.HTTPError as error:
                scene.notebook.find(f"GET {path} failed while {hung} hung: {error!r}")
                continue
            if answer.status_code != 200:
                scene.notebook.find(f"GET {path} answered {answer.status_code} while {hung} hung: {answer.text[:200]}")


async def _turn_is_stored(scene: Scene, busy: Busy, hung: str, seconds: float = _TURN_S) -> None:
    """Give a session a prompt; its answer must come, and PostgreSQL must hold its output and events."""
    before = (await rows(scene.installation))[busy.id]
    if await busy.answers(seconds) is None:
        scene.notebook.find(f"{busy.id} did not answer within {seconds} s while {hung} hung")
    after = (await rows(scene.installation))[busy.id]
    for name in ("output_seq", "event_seq"):
        if after[name] <= before[name]:
            scene.notebook.find(f"{busy.id}: {name} stood at {after[name]} while {hung} hung")


async def _input_is_stored(scene: Scene, busy: Busy) -> None:
    """Give a session a prompt, whose turn waits for the model; PostgreSQL must hold the input."""
    before = (await rows(scene.installation))[busy.id]["output_seq"]
    await busy.give(busy.short_prompt())
    try:
        async with asyncio.timeout(_TURN_S):
            while (await rows(scene.installation))[busy.id]["output_seq"] <= before:
                await asyncio.sleep(0.2)
    except TimeoutError:
        scene.notebook.find(f"{busy.id}: an accepted input was not stored within {_TURN_S} s while the gateway hung")


async def _ends(scene: Scene, session_id: str) -> None:
    began = scene.notebook.now_s()
    try:
        answer = await scene.http.delete(f"{SESSIONS}/{session_id}", timeout=_ENDED_S)
    except httpx.HTTPError as error:
        scene.notebook.find(f"DELETE of {session_id} failed while the gateway hung: {error!r}")
        return
    if answer.status_code != 200:
        scene.notebook.find(f"DELETE of {session_id} answered {answer.status_code} while the gateway hung")
    scene.notebook.say(f"a session ended in {scene.notebook.now_s() - began:.1f} s")


LONG_HANGS: Final = (
    Fault("redis and nats hang for long", _hang_long("redis", "nats", turns=True, manager=True)),
    Fault("caddy hangs for long", _hang_long("caddy", manager=True)),
    Fault("postgres hangs for long", _hang_long("postgres")),
    Fault("manager hangs for long", _hang_long("manager")),
    Fault("engine hangs for long", _hang_long("engine", turns=True, manager=True, only_awake=True), engine=True),
    Fault("runner hangs for long", _hang_runner, aimed=True),
    Fault("gateway hangs for long", _hang_gateway(_LONG_S)),
    Fault("one of two managers hangs for long", _hang_one_of_two(_LONG_S)),
)
"""A minute of each, for `make chaos`."""

_ENGINE: Final = _hang_long("engine", turns=True, manager=True, only_awake=True, seconds=_BRIEF_S)
HANGS_OF_EACH_CHANGE: Final = (
    LONG_HANGS[0],
    Fault("engine hangs", _ENGINE, engine=True),
    Fault("gateway hangs", _hang_gateway(_BRIEF_S)),
    Fault("one of two managers hangs", _hang_one_of_two(_BRIEF_S)),
)
"""The test of every change: longer than any deadline of a call to these parts (15 s), and than a lease (12 s)."""
