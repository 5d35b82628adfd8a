"""What happens to other sessions does not touch a WebSocket that is open."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.paths import RunPaths
from jelmore.session.world import Route
from tests.support.stack import Stack
from tests.support.stack_client import Api, Frame, talk_to


def pong_of(ping_id: str) -> Callable[[Frame], bool]:
    """Return the question whether a frame answers that ping."""
    return lambda frame: frame["type"] == "pong" and frame["id"] == ping_id


async def test_a_websocket_outlives_a_hundred_changes_of_other_routes(quick_api: Api, quickstart: Stack) -> None:
    paths = RunPaths(quickstart.run_dir)
    unused = {"http_listen": ":0", "https_listen": ":0"}
    edge = CaddyEdge(EdgeOptions(paths=paths, public_url=quickstart.url, tls="internal", **unused))
    created = await quick_api.create()
    async with talk_to(created, after=0) as talk:
        await talk.frame(lambda frame: frame["type"] == "hello")
        for number in range(100):
            other = uuid4()
            await edge.publish(other, paths.public(str(other)), route=Route.RUNNER)
            assert other in await edge.routes()
            await edge.withdraw(other)
            if number % 10 == 0:
                await talk.send(type="ping", id=f"p{number}")
                await talk.frame(pong_of(f"p{number}"))
        for _ in range(3):
            pair = await asyncio.gather(quick_api.create(), quick_api.create())
            await asyncio.gather(*(quick_api.delete(each["id"]) for each in pair))
        assert talk.code is None
        await talk.send(type="input", input="demo> say untouched", id="i")
        await talk.turn()
        assert "untouched" in str(talk.events)
        assert talk.seqs == list(range(1, len(talk.seqs) + 1))
