"""`python -m tests.bench.peers`: peers beside Jelmore, in one run and in turn. Needs npm and the package indexes."""

import argparse
import asyncio
import sys
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.paths import unix_address
from jelmore.session.world import Route
from tests.bench.peers.hub import Hub, hub
from tests.bench.peers.words import words
from tests.bench.processes import memory_mib
from tests.bench.standing import now_ms
from tests.bench.table import Row, table
from tests.bench.world import World, running

_NAME = "JupyterHub"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10, help="how often each thing is measured (10)")
    parser.add_argument("--sessions", type=int, default=10, help="how many sessions are many (10)")
    options = parser.parse_args()
    print(table(asyncio.run(_measure(options.runs, options.sessions))))
    return 0


async def _measure(runs: int, sessions: int) -> list[Row]:
    async with running(runs=runs, session_count=sessions) as world:
        conversations = await words(world)
        world.progress.report("installing JupyterHub, DockerSpawner and configurable-http-proxy")
        async with hub() as peer:
            hub_rows = [*await _starts(world, peer), *await _routes(world, peer), *await _memory(world, peer)]
    return [*conversations, *hub_rows]


async def _starts(world: World, peer: Hub) -> list[Row]:
    """A new sandbox until its first byte through the proxy. In ours an agent is connected by then."""
    cold: list[float] = []
    warm: list[float] = []
    theirs: list[float] = []
    async for number in world.each("starts"):
        theirs.append(await peer.spawn_s(f"one{number}") * 1000)
        await peer.stop(f"one{number}")
        cold.append(await _start_ms(world))
        await world.pool_filled()
        warm.append(await _start_ms(world, limits={}))
    return [
        Row("a session until its first byte, warm", "ms", warm, theirs, f"{_NAME}, a server of Python"),
        Row("a session until its first byte, cold", "ms", cold, theirs, f"{_NAME}, a server of Python"),
    ]


async def _start_ms(world: World, **body: Any) -> float:
    began = now_ms()
    created = await world.create(**body)
    (await world.api.http.get(f"/s/{created['id']}/health")).raise_for_status()
    taken = now_ms() - began
    await world.api.delete(created["id"])
    return taken


async def _routes(world: World, peer: Hub) -> list[Row]:
    edge = CaddyEdge(EdgeOptions(world.paths, world.stack.url, world.stack.url, "", "acme"))
    ours: list[float] = []
    theirs: list[float] = []
    async with world.session() as created:
        target = unix_address(world.sockets(created["id"]) / "runner.sock")
        ids: list[UUID] = [uuid7() for _ in range(100)]
        for session_id in ids:
            began = now_ms()
            await edge.publish(session_id, target, route=Route.RUNNER)
            ours.append(now_ms() - began)
            theirs.append(await peer.route_s(f"user/{session_id}") * 1000)
        for session_id in ids:
            await edge.withdraw(session_id)
    return [Row("a route is added", "ms", ours, theirs, "configurable-http-proxy")]


async def _memory(world: World, peer: Hub) -> list[Row]:
    """What each session adds to the processes that manage it: the manager here, hub and proxy there."""
    count = world.session_count
    ours, theirs = memory_mib(world.manager_pid()), peer.memory_mib()
    await world.create_sessions()
    added = memory_mib(world.manager_pid()) - ours
    await world.delete_sessions()
    users = [f"many{number}" for number in range(count)]
    for user in users:
        await peer.spawn_s(user)
    added_there = peer.memory_mib() - theirs
    for user in users:
        await peer.stop(user)
    return [
        Row("memory of the manager, without sessions", "MiB", [ours], [theirs], f"{_NAME} and its proxy"),
        Row(f"… more for each of {count}", "KiB", [added * 1024 / count], [added_there * 1024 / count], _NAME),
    ]


if __name__ == "__main__":
    sys.exit(main())
