"""What one client does must not stop the others."""

import asyncio
import statistics
import sys
import time
from pathlib import Path

from tests.support.stack import Stack
from tests.support.stack_client import SESSIONS, Api

_SECONDS = 12
_SLOWEST_S = 5.0  # an attack used to make a GET take 24 s
_TYPICAL_S = 1.0


async def test_large_frames_of_a_reader_do_not_slow_down_the_others(quick_api: Api, quickstart: Stack) -> None:
    created = await quick_api.create()
    victim = await quick_api.create()
    answer = await quick_api.post(created["id"], "/token", {"scopes": ["read"]})
    assert answer.status_code in (200, 201), answer.text
    url = f"{quickstart.url.replace('http', 'ws', 1)}{SESSIONS}/{created['id']}/stream"
    attack = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.flood", url, answer.json()["token"], str(_SECONDS)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    times: list[float] = []
    try:
        while attack.returncode is None:
            began = time.monotonic()
            await quick_api.get(victim["id"])
            times.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
        assert attack.stdout is not None
        made, sent = map(int, (await attack.stdout.read()).split())
    finally:
        if attack.returncode is None:
            attack.kill()
            await attack.wait()
    print(f"{made} connections, {sent} bytes; GET median {statistics.median(times):.3f} s, worst {max(times):.3f} s")
    assert made >= 30, "the attack took place"
    assert max(times) < _SLOWEST_S
    assert statistics.median(times) < _TYPICAL_S
    result = await quick_api.ask(victim["id"], "demo> say still here")
    assert result["result"].endswith("still here")
