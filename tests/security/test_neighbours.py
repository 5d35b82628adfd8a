"""A session that takes all that it can: its neighbour keeps its latency, and the session itself works afterwards."""

import asyncio
import base64
import statistics
import time
from typing import Final

import pytest

from tests.support.stack_client import Api, Frame, Talk, talk_to, tool_answers

MIB: Final = 1024**2
LIMITS: Final = {"cpus": 1.0, "memory_bytes": 512 * MIB, "pids": 200}
BOMB_S: Final = 7
PINGS: Final = 60
MOST: Final = 2.0
GRACE_S: Final = 0.005
"""A round trip takes few milliseconds. What is below this is the machine's, on which other things run."""

START: Final = f"import os, signal, time\nuntil = time.monotonic() + {BOMB_S}\ndid = 0\n"
END: Final = "print('did', did)\n"
BOMBS: Final = {
    "processor": (
        (
            "children = []\n"
            "for _ in range(4):\n"
            "    children.append(os.fork())\n"
            "    if not children[-1]:\n"
            "        while True: pass\n"
            "while time.monotonic() < until: did += 1\n"
            "for child in children: os.kill(child, signal.SIGKILL)\n"
        ),
        100_000,
    ),
    "processes": (
        (
            "children = []\n"
            "while time.monotonic() < until:\n"
            "    try:\n"
            "        child = os.fork()\n"
            "    except OSError:\n"
            "        did += 1\n"
            "        time.sleep(0.001)\n"
            "        continue\n"
            "    if not child: time.sleep(3600)\n"
            "    children.append(child)\n"
            "for child in children: os.kill(child, signal.SIGKILL)\n"
        ),
        100,
    ),
    "memory": (
        (
            f"taken = [bytearray({MIB}) for _ in range(200)]\n"
            "while time.monotonic() < until:\n"
            "    for each in taken: each[::4096] = os.urandom(len(each[::4096]))\n"
            "    did += 1\n"
        ),
        2,
    ),
    "disk": (
        (
            "while time.monotonic() < until:\n"
            "    with open('big', 'wb') as file:\n"
            f"        for _ in range(32): did += file.write(b'x' * {MIB})\n"
            "        file.flush()\n"
            "        os.fsync(file.fileno())\n"
            "os.unlink('big')\n"
        ),
        32 * MIB,
    ),
}
"""What runs inside, and how much it must have done: a bomb that did not go off shows nothing."""


async def round_trip_s(talk: Talk) -> float:
    """Return the median of the time from a client's ping to the pong of its session's runner."""
    took = []
    for number in range(PINGS):
        began = time.perf_counter()
        mark = f"{number}-{began}"

        def is_pong(frame: Frame, mark: str = mark) -> bool:
            return frame["type"] == "pong" and frame.get("id") == mark

        await talk.send(type="ping", id=mark)
        await talk.frame(is_pong, since=len(talk.frames))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.03)
    return statistics.median(took)


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_neighbour_keeps_its_latency(quick_api: Api, bomb: str) -> None:
    program, least = BOMBS[bomb]
    packed = base64.b64encode((START + program + END).encode()).decode()
    neighbour = await quick_api.create()
    hostile = await quick_api.create(allowed_tools=["Bash"], limits=LIMITS)
    await quick_api.until(hostile["id"], status="waiting_input")
    async with talk_to(neighbour, after=0) as talk:
        alone_s = await round_trip_s(talk)
        bombing = asyncio.create_task(
            quick_api.ask(hostile["id"], f"demo> run echo {packed} | base64 -d | python3 - 2>&1"), name="bomb"
        )
        await asyncio.sleep(2)
        beside_s = await round_trip_s(talk)
        assert not bombing.done(), "it was measured while the bomb was at work"
        await bombing
    said = tool_answers(await quick_api.all(hostile["id"], "output"))[-1]
    assert said.startswith("did "), said
    assert int(said.split()[1]) >= least
    print(f"{bomb}: {beside_s * 1000:.1f} ms beside the bomb, {alone_s * 1000:.1f} ms alone")
    assert beside_s <= MOST * alone_s + GRACE_S, f"{beside_s * 1000:.1f} ms, {alone_s * 1000:.1f} ms alone"
    assert "still here" in (await quick_api.ask(hostile["id"], "demo> say still here"))["result"]
