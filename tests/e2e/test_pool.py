"""The warm pool of a whole quick start: claims, faults between them, and nothing left over."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from jelmore.drivers.gateway_link import GatewayLink
from jelmore.drivers.paths import RunPaths
from jelmore_protocol.gateway import SandboxEntry
from tests.support.stack import Stack, as_agent, docker, docker_lines
from tests.support.stack_client import SESSIONS, Api, eventually
from tests.support.stack_fixtures import running
from tests.support.stack_quickstart import QuickStart

# As the runner would call the gateway, from inside the container and as the runner's user.
CALL_GATEWAY = """
import socket
for name, request in (
    ("model.sock", b"POST /v1/messages HTTP/1.1\\r\\nHost: gateway\\r\\nContent-Length: 2\\r\\n\\r\\n{}"),
    ("egress.sock", b"CONNECT example.com:443 HTTP/1.1\\r\\nHost: example.com:443\\r\\n\\r\\n"),
):
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(10)
    caller.connect("/jelmore/gateway/" + name)
    caller.sendall(request)
    print(caller.recv(65536).split(b"\\r\\n")[0].split()[1].decode())
"""


@pytest.fixture(scope="module")
def pool_stack(runner_image: None) -> Iterator[Stack]:
    """A quick start that keeps one sandbox ready, with three slots."""
    yield from running(QuickStart(JELMORE_MAX_SESSIONS="3", JELMORE_POOL_SIZE="1", JELMORE_MONITOR_EVERY_S="5"))


@pytest_asyncio.fixture
async def api(pool_stack: Stack) -> AsyncIterator[Api]:
    calls = Api(pool_stack)
    yield calls
    await calls.close()


async def member_of(api: Api, *, other_than: str = "") -> str:
    """Return the id of the one member, once it is ready."""
    found: list[str] = []

    async def ready() -> bool:
        answer = await api.http.get(f"{SESSIONS}/stats")
        pool = answer.json()["pool"] if answer.status_code == 200 else {}
        if (pool.get("ready"), pool.get("starting"), pool.get("removing")) != (1, 0, 0):
            return False
        live = set(await api.live())
        found[:] = [each for each in marked(api.stack) if each not in live and each != other_than]
        return len(found) == 1

    await eventually(ready, seconds=60, what=lambda: f"one member is ready: {found}, {marked(api.stack)}")
    return found[0]


def marked(stack: Stack) -> list[str]:
    """Return the ids of the containers that were started for the pool."""
    mine = ("--filter", f"label=jelmore.instance={stack.instance}", "--filter", "label=jelmore.pool=1")
    return docker_lines("ps", "--all", *mine, "--format", '{{.Label "jelmore.session"}}')


async def held(stack: Stack) -> list[SandboxEntry]:
    link = GatewayLink(RunPaths(stack.run_dir).gateway_control)
    try:
        return [entry for entry in await link.registered() if entry.held]
    finally:
        await link.close()


async def test_a_member_is_unreachable_and_has_no_credential_and_then_serves_a_session(
    api: Api, pool_stack: Stack
) -> None:
    member = await member_of(api)
    container = pool_stack.container(member)
    assert [entry.session_id for entry in await held(pool_stack)] == [member]
    calls = ("exec", "--user", "10001", container, "/opt/jelmore/venv/bin/python", "-c", CALL_GATEWAY)
    assert docker(*calls).split() == ["403", "403"]
    inspected = docker("inspect", container)
    assert pool_stack.credential not in inspected
    assert pool_stack.api_key not in inspected
    assert (await api.http.get(f"/s/{member}/ws")).status_code == 404
    assert (await api.http.get(f"{SESSIONS}/{member}")).status_code == 404
    assert (await api.http.get(f"{SESSIONS}/{member}/files")).status_code == 404

    read = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    environment = as_agent(container, "sh", "-c", read)
    assert "ANTHROPIC_AUTH_TOKEN=jelmore-session" in environment, "Claude Code runs, with what stands for a credential"
    assert pool_stack.credential not in environment

    created = await api.create("demo> run echo warm $((40 + 2))", permission_mode="bypassPermissions")
    assert (created["id"], created["warm_start"], created["generation"]) == (member, "connected", 1)
    assert pool_stack.container(member) == container
    assert (await api.ask(member, "demo> say hello"))["is_error"] is False
    output = json.dumps(await api.all(member, "output"))
    assert "warm 42" in output
    assert await member_of(api) != member
    text = (await api.http.get("/metrics")).text
    assert 'jelmore_pool_claims_total{stage="connected"} 1.0' in text
    assert 'jelmore_pool_members{state="ready"} 1.0' in text


async def test_a_session_with_options_of_its_own_gets_the_sandbox_and_an_agent_of_its_own(
    api: Api, pool_stack: Stack
) -> None:
    member = await member_of(api)
    created = await api.create(system_prompt="Be brief.", env={"APP_COLOUR": "blue"}, allowed_tools=["Bash"])
    assert (created["id"], created["warm_start"]) == (member, "runner")
    await api.ask(member, "demo> run echo colour $APP_COLOUR")
    assert "colour blue" in json.dumps(await api.all(member, "output"))
    assert docker("exec", pool_stack.container(member), "pgrep", "-c", "-x", "claude").strip() == "1"


async def test_an_agent_that_died_while_it_waited_costs_no_session(api: Api, pool_stack: Stack) -> None:
    member = await member_of(api)
    as_agent(pool_stack.container(member), "pkill", "-KILL", "-x", "claude")
    created = await api.create()
    assert (created["id"], created["status"]) == (member, "waiting_input")
    assert created["warm_start"] in {"runner", "connected"}, "connected if the pool has noticed first"
    assert (await api.ask(member, "demo> say hello"))["is_error"] is False
    assert "agent_died" not in json.dumps(await api.all(member, "output"))


async def test_other_limits_start_cold(api: Api) -> None:
    member = await member_of(api)
    created = await api.create(limits={"memory_bytes": 1 << 30})
    assert (created["warm_start"], created["id"] != member) == ("none", True)
    assert await member_of(api) == member


async def test_a_dead_member_costs_a_start_and_no_session(api: Api, pool_stack: Stack) -> None:
    member = await member_of(api)
    docker("kill", pool_stack.container(member))
    created = await api.create()
    assert created["status"] == "waiting_input"
    # Whether the pool or the create noticed first, the session lives and the dead container is gone.
    assert (created["warm_start"] == "lost") is (created["id"] == member)
    assert (await api.ask(created["id"], "demo> say hello"))["is_error"] is False
    assert await member_of(api) != member
    events = {event["event_type"] for event in await api.all(created["id"], "events")}
    assert "session.failed" not in events
    assert "session.started" in events


async def test_a_member_survives_the_gateway_and_stays_held(api: Api, pool_stack: Stack) -> None:
    member = await member_of(api)
    before = pool_stack.kill("gateway")

    async def another() -> bool:
        now = pool_stack.pid("gateway")
        answer = await api.http.get("/health")
        return now not in {None, before} and answer.status_code == 200 and answer.json()["status"] == "ok"

    await eventually(another, seconds=60, what=lambda: "another gateway")
    assert await member_of(api) == member
    assert [entry.session_id for entry in await held(pool_stack)] == [member]
    created = await api.create()
    assert (created["id"], created["warm_start"]) == (member, "connected")
    assert (await api.ask(member, "demo> say hello"))["is_error"] is False


async def test_a_member_survives_the_manager(api: Api, pool_stack: Stack) -> None:
    member = await member_of(api)
    pool_stack.kill("manager")
    assert await member_of(api) == member
    created = await api.create()
    assert (created["id"], created["warm_start"]) == (member, "connected")


async def test_creates_at_once_get_each_member_once(api: Api) -> None:
    member = await member_of(api)
    made = await asyncio.gather(*(api.create() for _ in range(3)))
    assert len({created["id"] for created in made}) == 3
    assert [created["id"] for created in made if created["warm_start"] == "connected"] == [member]
    refused = await api.http.post(SESSIONS, json={})
    assert refused.status_code == 429

    async def alone() -> bool:
        return sorted(marked(api.stack)) == [member] and len(api.stack.containers()) == 3

    await eventually(alone, seconds=30, what=lambda: f"no member at capacity: {marked(api.stack)}")


async def test_a_manager_that_dies_at_any_moment_of_a_refill_leaves_nothing_over(api: Api, pool_stack: Stack) -> None:
    for number in range(6):
        member = await member_of(api)
        created = await api.create()
        assert created["id"] == member
        await asyncio.sleep(number * 0.35)  # the moment of the refill at which the manager dies
        pool_stack.kill("manager")

        async def answers() -> bool:
            return (await api.http.get(f"{SESSIONS}/stats")).status_code == 200

        await eventually(answers, seconds=60, what=lambda: "another manager")
        await api.delete(created["id"])
    member = await member_of(api)

    async def clean() -> bool:
        return len(pool_stack.containers()) == 1

    await eventually(clean, seconds=60, what=lambda: f"one container: {pool_stack.containers()}")
    assert marked(pool_stack) == [member]


async def test_the_end_of_the_quick_start_removes_the_pool(runner_image: None) -> None:
    stack = QuickStart(own_model=True, JELMORE_POOL_SIZE="1")
    volumes = ("volume", "ls", "--quiet", "--filter", f"label=jelmore.instance={stack.instance}")
    try:
        await asyncio.to_thread(stack.start)
        api = Api(stack)
        member = await member_of(api)
        await api.http.aclose()
        assert docker_lines(*volumes) == [f"jelmore-{member}"]
        await asyncio.to_thread(stack.stop)
        assert stack.remains() == []
        assert docker_lines(*volumes) == []
        await asyncio.to_thread(stack.start)  # without a session, and not taken for a wrong database
        api = Api(stack)
        assert await member_of(api) != member
        await api.http.aclose()
    finally:
        await asyncio.to_thread(stack.stop)
        await asyncio.to_thread(stack.discard)
