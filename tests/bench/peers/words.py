"""A conversation at a server of this field beside one of ours: from a prompt to the first word of its answer."""

import time

from tests.bench.first_token import demo_model
from tests.bench.listening import prompting
from tests.bench.peers.cloudcli import CloudCli, cloudcli
from tests.bench.processes import memory_mib
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack_client import is_result, is_text_delta

_NAME = "CloudCLI"
_FIRST = "demo> say hello"
_LATER = "demo> say hello again"


async def words(world: World) -> list[Row]:
    """A new session's first and second prompt, ours from the warm pool, in turn; both use the demo model.

    Theirs has no sandbox: it starts a Claude Code on the host for each prompt.
    """
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    world.progress.report(f"installing {_NAME}")
    async with demo_model() as url, cloudcli(url) as peer:
        async for _ in world.each("conversations"):
            theirs.append(await _theirs_ms(peer))
            await world.pool_filled()
            ours.append(await _ours_ms(world))
        memory, there = memory_mib(world.manager_pid()), peer.memory_mib()
    return [
        Row(
            "a new session with a prompt → first word",
            "ms",
            [each[0] for each in ours],
            [each[0] for each in theirs],
            _NAME,
        ),
        Row("its second prompt → first word", "ms", [each[1] for each in ours], [each[1] for each in theirs], _NAME),
        Row("memory of the server, no session awake", "MiB", [memory], [there], _NAME),
    ]


async def _theirs_ms(peer: CloudCli) -> tuple[float, float]:
    began = time.perf_counter()
    session_id = await peer.new_session()
    created_s = time.perf_counter() - began
    first_s = created_s + await peer.first_word_s(session_id, _FIRST)
    return first_s * 1000, await peer.first_word_s(session_id, _LATER) * 1000


async def _ours_ms(world: World) -> tuple[float, float]:
    began = time.time()
    created = await world.create(_FIRST, limits={})
    try:
        async with prompting(created) as prompter:
            listener = prompter.listener
            first, _ = await listener.until(is_text_delta)
            await listener.until(is_result)
            since = len(listener.received)
            sent = await prompter.send(_LATER)
            later, _ = await listener.until(is_text_delta, since)
            await listener.until(is_result, since)
        return (first - began) * 1000, (later - sent) * 1000
    finally:
        await world.api.delete(created["id"])
