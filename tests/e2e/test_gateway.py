"""The way to the model is a process of its own: turns continue without a manager, and an end cuts them off."""

import asyncio
import os
import signal
import time

from jelmore.drivers.gateway_link import GatewayLink
from jelmore_protocol.gateway import CallRecord, GatewayHealth, sandbox_key
from tests.support.stack import Stack
from tests.support.stack_client import Api, Frame, eventually, is_text_delta, talk_to

STEPS = 4
TURN = "\n".join(f"demo> run echo step {number}" for number in range(STEPS))


def link(stack: Stack) -> GatewayLink:
    return GatewayLink(stack.run_dir / "gateway" / "control.sock")


async def used(stack: Stack, session_id: str) -> list[CallRecord]:
    records = (await link(stack).calls(0)).calls
    return [record for record in records if record.session_id == session_id]


async def until_well(api: Api) -> None:
    async def well() -> bool:
        answer = await api.http.get("/health")
        return answer.status_code == 200 and answer.json()["status"] == "ok"

    await eventually(well, seconds=60, what=lambda: "all is well")


async def test_a_turn_continues_while_no_manager_runs(api: Api, stack: Stack) -> None:
    created = await api.create("demo> say hello", allowed_tools=["Bash"])
    async with talk_to(created, after=0) as talk:
        await talk.turn()
        manager = stack.pid("manager")
        assert manager is not None
        os.kill(manager, signal.SIGSTOP)
        try:
            since = len(talk.frames)
            await talk.send(type="input", id="without", input=TURN)
            await talk.said(f"step {STEPS - 1}", seconds=60)
            await talk.turn(since=since, seconds=60)
        finally:
            os.kill(manager, signal.SIGCONT)
    await until_well(api)
    records = await used(stack, created["id"])
    assert len(records) > STEPS, "each step was a call that the gateway carried and metered"
    assert all(record.output_tokens > 0 and record.complete for record in records)


async def test_a_killed_gateway_does_not_end_the_turn(api: Api, stack: Stack) -> None:
    created = await api.create(f"demo> words 60 20\n{TURN}", allowed_tools=["Bash"])
    async with talk_to(created, after=0) as talk:
        await talk.frame(is_text_delta)
        stack.kill("gateway")
        await talk.said(f"step {STEPS - 1}", seconds=90)
        await talk.turn(seconds=60)
    await until_well(api)


async def test_a_delete_cuts_the_running_model_call(quick_api: Api, quickstart: Stack) -> None:
    created = await quick_api.create("demo> words 3000 20")
    key = sandbox_key(created["id"], 1)

    async def health() -> GatewayHealth:
        return await link(quickstart).health()

    async with talk_to(created, after=0) as talk:
        await talk.frame(is_text_delta)
        assert (await health()).streams == 1
        began = time.monotonic()
        deleting: asyncio.Task[Frame] = asyncio.create_task(quick_api.delete(created["id"]), name="delete")
        while (await health()).streams:
            await asyncio.sleep(0.02)
        took_s = time.monotonic() - began
        await deleting
    assert took_s < 5  # a second, and room for a machine that is busy with other tests

    async def forgotten() -> bool:
        return key not in {entry.key for entry in await link(quickstart).registered()}

    await eventually(forgotten, seconds=10, what=lambda: "the sandbox is withdrawn")
    assert not (quickstart.run_dir / "gateway" / key).exists()
