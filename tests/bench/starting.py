"""How long a session takes to be there: new, and resumed."""

import time
from typing import Any

from tests.bench.listening import event_stream, listening
from tests.bench.sandboxes import ClaudeStart, restart_bare, start_bare, start_claude
from tests.bench.table import Row
from tests.bench.world import World, path_of
from tests.support.stack import docker_lines
from tests.support.stack_client import Frame, eventually, is_text_delta


async def create(world: World) -> list[Row]:
    """Create until 201, in turn with a bare container and with Claude Code alone in one."""
    bare: list[float] = []
    claude: list[ClaudeStart] = []
    created: list[float] = []
    warm: list[float] = []
    ended: list[float] = []
    async for _ in world.each("create"):
        bare.append(await start_bare(world) * 1000)
        claude.append(await start_claude(world))
        created_s, session = await _created(world, "none")
        await world.api.delete(session["id"])
        created.append(created_s * 1000)
        await world.pool_filled()
        created_s, session = await _created(world, "connected", limits={})
        warm.append(created_s * 1000)
        began = time.perf_counter()
        await world.api.delete(session["id"])
        ended.append((time.perf_counter() - began) * 1000)
    own = [start.own_s * 1000 for start in claude]
    floor = [sandbox + start for sandbox, start in zip(bare, own, strict=True)]
    return [
        Row("bare container: create and start", "ms", bare),
        Row("Claude Code's own start in one", "ms", own),
        Row("… of it importing the SDK", "ms", [start.import_s * 1000 for start in claude]),
        Row("… of it connecting", "ms", [start.connect_s * 1000 for start in claude]),
        Row("create → 201", "ms", created, floor, "bare container + Claude Code", limit=300, bounds="difference"),
        Row(
            "create → 201, warm",
            "ms",
            warm,
            [start.connect_s * 1000 for start in claude],
            "Claude Code connecting",
            limit=40,
        ),
        Row("delete → 200, nothing of it runs", "ms", ended),
    ]


async def _created(world: World, stage: str, **body: Any) -> tuple[float, Frame]:
    """Return the seconds of a create and its session, which this stage of a warm start has served."""
    began = time.perf_counter()
    session = await world.create(**body)
    seconds = time.perf_counter() - began
    assert session["warm_start"] == stage, f"served by {session['warm_start']}, not by {stage}"
    return seconds, session


async def wake(world: World) -> list[Row]:
    """The input that wakes a hibernated session, until it is accepted and until the first word of its turn.

    A text, and in turn with it content blocks, which only the runner can accept; in turn with a new session, and with
    the start of a bare container that exists already.
    """
    started: list[float] = []
    fresh: list[float] = []
    text: list[tuple[float, float]] = []
    blocks: list[tuple[float, float]] = []
    async for _ in world.each("wake"):
        started.append(await restart_bare(world) * 1000)
        began = time.perf_counter()
        session = await world.create("demo> say hello", idle_after_s=0.2, hibernate_after_s=0.4)
        fresh.append((time.perf_counter() - began) * 1000)
        text.append(await _resumed(world, session, "demo> say again"))
        blocks.append(await _resumed(world, session, [{"type": "text", "text": "demo> say again"}]))
        await world.api.delete(session["id"])
    runner, floor = "content blocks: accepted by the runner", "start of a bare container"
    return [
        Row("start of a bare container that exists", "ms", started),
        Row("wake from hibernation → 202", "ms", [one for one, _ in text], fresh, "create → 201", limit=150),
        Row("wake from hibernation → 202", "ms", [one for one, _ in text], [one for one, _ in blocks], runner),
        Row("wake from hibernation → first word", "ms", [word for _, word in text], started, floor),
        Row(
            "wake from hibernation → first word", "ms", [word for _, word in text], [word for _, word in blocks], runner
        ),
    ]


async def _resumed(world: World, session: Frame, given: object) -> tuple[float, float]:
    """Wait until the session is hibernated, send it an input; return the ms until 202 and until the first word."""
    await world.api.until(session["id"], presence="hibernated", seconds=60)

    async def gone() -> bool:
        return not docker_lines("ps", "--all", "--quiet", "--filter", f"label=jelmore.session={session['id']}")

    await eventually(gone, seconds=60, what=lambda: "the container of a hibernated session goes")
    async with listening(event_stream(world, session)) as [listener]:
        began = time.time()
        answer = await world.api.http.post(path_of(session, "/input"), json={"input": given})
        answer.raise_for_status()
        accepted_ms = (time.time() - began) * 1000
        at, _ = await listener.until(is_text_delta)
        return accepted_ms, (at - began) * 1000
