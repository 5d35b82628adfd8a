"""Input that nobody should give: torn, jumped, garbled, doubled or full, it ends in a defined state with a reason."""

import asyncio
import json
import os
import signal
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from tests.chaos.installation import Installation
from tests.support.engine_relay import RUNNER_IMAGE
from tests.support.stack import as_agent, docker, docker_lines, run
from tests.support.stack_client import SESSIONS, Api, Frame, eventually, talk_to
from tests.support.stack_quickstart import command
from tests.support.stack_stores import rows

pytestmark = [pytest.mark.chaos, pytest.mark.docker, pytest.mark.timeout(180)]

FILL = "/session/fill"
SLOW_S = 60.0
SLEEPY = {"idle_after_s": 1, "hibernate_after_s": 2}


@pytest.fixture(scope="module")
def installation(runner_image: None) -> Iterator[Installation]:
    """One quick start for all of these; probes come quickly, so that a deaf runner is soon found out."""
    made = Installation(JELMORE_MAX_SESSIONS="4", JELMORE_PROBE_EVERY_S="1", JELMORE_PROBE_GRACE_S="1")
    try:
        made.start()
        yield made
        made.stop()
        assert made.remains() == []
    finally:
        try:
            made.stop()
        finally:
            made.discard()


@pytest_asyncio.fixture
async def api(installation: Installation) -> AsyncIterator[Api]:
    calls = Api(installation)
    yield calls
    await calls.close()


async def says(api: Api, session_id: str, word: str) -> None:
    """Give a prompt and see its own answer: the session works."""
    result = await api.ask(session_id, f"demo> say {word}", wait_s=80)
    assert word in result["result"]


async def asleep(api: Api, installation: Installation, session_id: str) -> None:
    """Return when the session has no container left."""
    await api.until(session_id, presence="hibernated", seconds=SLOW_S)

    async def gone() -> bool:
        return session_id not in await asyncio.to_thread(installation.sandboxes)

    await eventually(gone, seconds=SLOW_S, what=lambda: "its container is gone")


async def change(installation: Installation, sql: str, session_id: str) -> None:
    connection = await asyncpg.connect(installation.database_url(), timeout=10)
    try:
        await connection.execute(
            f"update sessions set {sql}, version = version + 1 where id = $1", session_id, timeout=10
        )
    finally:
        await connection.close(timeout=10)


def on_volume(session_id: str, script: str) -> str:
    """Run a line of shell on a session's volume."""
    words = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh"]
    return docker(*words, "--volume", f"jelmore-{session_id}:/session", RUNNER_IMAGE, "-c", script)


async def whole(api: Api, installation: Installation, session_id: str) -> list[Frame]:
    """Return the session's output, which has no gap and is all in PostgreSQL."""
    output = await api.all(session_id, "output")
    seqs = [each["seq"] for each in output]
    assert seqs == list(range(1, len(seqs) + 1))
    assert (await rows(installation, session_id))[: len(seqs)] == seqs
    return output


async def test_a_torn_journal_is_cut_and_says_so(api: Api, installation: Installation) -> None:
    created = await api.create("demo> say first", **SLEEPY)
    await asleep(api, installation, created["id"])
    before = len(await whole(api, installation, created["id"]))
    on_volume(created["id"], """printf '{"type":"event","seq":%s,"kind":"mess' 999 >> /session/state/journal.jsonl""")
    await says(api, created["id"], "second")
    output = await whole(api, installation, created["id"])
    errors = [each["data"] for each in output[before:] if each["kind"] == "error"]
    assert [each["code"] for each in errors] == ["journal_truncated"], errors


async def test_a_journal_that_lost_its_end_continues_with_new_numbers(api: Api, installation: Installation) -> None:
    created = await api.create("demo> say first", **SLEEPY)
    await asleep(api, installation, created["id"])
    before = len(await whole(api, installation, created["id"]))
    on_volume(created["id"], "sed -i '$d' /session/state/journal.jsonl; sed -i '$d' /session/state/journal.jsonl")
    await says(api, created["id"], "second")
    assert len(await whole(api, installation, created["id"])) > before


async def test_half_a_record_in_the_cache_is_not_believed(api: Api, installation: Installation) -> None:
    created = await api.create("demo> say first")
    await api.until(created["id"], status="waiting_input")
    client: Any = redis.asyncio.Redis.from_url(installation.redis_url(), protocol=2)
    try:
        for half in ('{"id": "', "", "[]", "null", json.dumps({"id": created["id"], "status": "flying"})):
            await client.hset(f"session:{created['id']}:record:1", mapping={"version": 10**9, "record": half})
            shown = await api.get(created["id"])
            assert (shown["id"], shown["status"]) == (created["id"], "waiting_input")
    finally:
        await client.aclose()
    await says(api, created["id"], "second")
    assert (await api.get(created["id"]))["usage"]["turns"] == 2


async def test_half_a_line_in_the_live_stream_stops_no_reader(api: Api, installation: Installation) -> None:
    created = await api.create("demo> say first")
    await api.until(created["id"], status="waiting_input")
    newest = (await api.get(created["id"]))["output_buffer_size"]
    client: Any = redis.asyncio.Redis.from_url(installation.redis_url(), protocol=2)
    try:
        await client.xadd(f"session:{created['id']}:output", {"t": '{"type":"event","seq":'}, id=f"{newest + 1}-0")
    finally:
        await client.aclose()
    await says(api, created["id"], "second")
    truth = await whole(api, installation, created["id"])
    seen: list[int] = []
    async with (
        asyncio.timeout(SLOW_S),
        api.http.stream("GET", f"{SESSIONS}/{created['id']}/stream", params={"after": 0}) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and '"type":"event"' in line:
                seen.append(json.loads(line.removeprefix("data: "))["seq"])
                if len(seen) == len(truth):
                    break
    assert seen == [each["seq"] for each in truth]


@pytest.mark.parametrize("jump", ["+ interval '1 day'", "- interval '1 day'"])
async def test_a_clock_that_jumped_leaves_a_session_that_works(api: Api, installation: Installation, jump: str) -> None:
    created = await api.create("demo> say first", idle_after_s=2)
    await api.until(created["id"], status="waiting_input")
    clocks = ("created_at", "last_activity_at", "since")
    await change(installation, ", ".join(f"{clock} = {clock} {jump}" for clock in clocks), created["id"])
    await says(api, created["id"], "second")
    shown = await api.until(created["id"], status="idle", seconds=SLOW_S)
    assert shown["failure"] is None
    await says(api, created["id"], "third")


async def test_an_idle_day_that_never_was_ends_a_session_for_a_named_reason(
    api: Api, installation: Installation
) -> None:
    created = await api.create("demo> say first", timeout_minutes=30, on_timeout="terminate")
    await api.until(created["id"], status="waiting_input")
    await change(installation, "last_activity_at = last_activity_at - interval '1 day'", created["id"])

    async def warned() -> bool:
        events = await api.all(created["id"], "events")
        return any(event["event_type"] == "system.timeout_warning" for event in events)

    await eventually(warned, seconds=SLOW_S, what=lambda: "the warning that comes before every end")
    assert (await api.get(created["id"]))["status"] != "terminated"
    await change(installation, "warned_at = warned_at - interval '1 hour'", created["id"])
    shown = await api.until(created["id"], status="terminated", seconds=SLOW_S)
    assert shown["end_reason"] == "idle_timeout"


class _Garbage(socketserver.StreamRequestHandler):
    """Answers anything with something that is no HTTP."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"\x00\xff{]} 200 maybe\r\n\r\n" * 50)


@contextmanager
def garbage_on(path: Path) -> Iterator[None]:
    """Take the place of whoever listens at `path`, and answer garbage there."""
    path.unlink()
    with socketserver.ThreadingUnixStreamServer(str(path), _Garbage) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="garbage")
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def test_a_runner_that_answers_garbage_is_replaced(api: Api, installation: Installation) -> None:
    created = await api.create("demo> say first")
    await api.until(created["id"], status="waiting_input")
    with garbage_on(installation.sockets(created["id"]) / "control.sock"):

        async def replaced() -> bool:
            return bool((await api.get(created["id"]))["generation"] > created["generation"])

        await eventually(replaced, seconds=SLOW_S, what=lambda: "another container takes over")
    await says(api, created["id"], "second")
    checks = (await api.get(created["id"], "/health"))["checks"]
    assert any(not check["healthy"] and check["message"] for check in checks)
    await whole(api, installation, created["id"])


async def test_a_runner_that_hangs_is_replaced(api: Api, installation: Installation) -> None:
    created = await api.create("demo> say first")
    await api.until(created["id"], status="waiting_input")
    sandbox = installation.running_box(created["id"])
    assert sandbox is not None
    pids = [int(word) for word in docker("top", sandbox, "-eo", "pid").split()[1:]]
    [runner] = [pid for pid in pids if "-m jelmore_runner" in command(pid) and "tini" not in command(pid)]
    os.kill(runner, signal.SIGSTOP)
    await api.until(created["id"], generation=created["generation"] + 1, status="waiting_input", seconds=SLOW_S)
    await says(api, created["id"], "second")
    events = await api.all(created["id"], "events")
    [lost] = [event["payload"] for event in events if event["payload"].get("code") == "container_lost"]
    assert lost["message"] == "the runner does not answer"
    await whole(api, installation, created["id"])


async def test_a_container_that_is_stopped_and_not_killed_comes_back_too(api: Api, installation: Installation) -> None:
    created = await api.create("demo> words 1000 20")
    sandbox = installation.running_box(created["id"])
    assert sandbox is not None
    async with talk_to(created, after=0) as talk:
        await talk.frame(lambda frame: frame["type"] == "delta")
        await asyncio.to_thread(docker, "stop", sandbox)
    shown = await api.until(created["id"], generation=created["generation"] + 1, waiting_for="prompt", seconds=SLOW_S)
    assert shown["terminated_at"] is None
    await says(api, created["id"], "second")
    await whole(api, installation, created["id"])


def claim(installation: Installation, session_id: str, generation: int) -> str:
    """Start a container that claims a session as one of its generations."""
    labels = [
        f"jelmore.session={session_id}",
        f"jelmore.instance={installation.instance}",
        f"jelmore.generation={generation}",
    ]
    marks = [word for label in labels for word in ("--label", label)]
    rest = ["--network", "none", "--entrypoint", "sleep", RUNNER_IMAGE, "600"]
    made = docker("create", "--name", f"jelmore-{session_id}-{generation}", *marks, *rest).strip()
    with suppress(AssertionError):  # the manager may be quicker, and have removed it already
        docker("start", made)
    return made


@pytest.mark.parametrize("offset", [-1, 1], ids=["older", "newer"])
async def test_of_two_containers_the_record_names_the_one_that_counts(
    api: Api, installation: Installation, offset: int
) -> None:
    created = await api.create("demo> say first", idle_after_s=0)
    assert (await api.post(created["id"], "/restart")).status_code < 300
    shown = await api.until(created["id"], generation=2, status="waiting_input", seconds=SLOW_S)
    impostor = claim(installation, created["id"], shown["generation"] + offset)

    async def alone() -> bool:
        sandboxes = await asyncio.to_thread(installation.sandboxes)
        mine = sandboxes.get(created["id"], [])
        return len(mine) == 1 and mine[0][0] != impostor

    await eventually(alone, seconds=SLOW_S, what=lambda: f"one container; there are {installation.sandboxes()}")
    await says(api, created["id"], "second")
    async with talk_to(created, after=0) as talk:
        await talk.said("second")
    await whole(api, installation, created["id"])


async def test_a_full_disk_holds_the_session_up_and_no_event_is_lost(api: Api, installation: Installation) -> None:
    sleep = {"idle_after_s": 6, "hibernate_after_s": 7}
    created = await api.create("demo> say first", permission_mode="bypassPermissions", **sleep)
    session_id = created["id"]
    await asleep(api, installation, session_id)
    small_volume(installation, session_id)
    await says(api, session_id, "second")
    sandbox = installation.running_box(session_id)
    assert sandbox is not None
    prompt = await refused_for_want_of_room(api, session_id, sandbox)
    newest = (await api.get(session_id))["output_buffer_size"]
    as_agent(sandbox, "rm", FILL)

    async def accepted() -> bool:
        return (await api.post(session_id, "/input", prompt)).status_code == 202

    await eventually(accepted, seconds=SLOW_S, what=lambda: "the same input is accepted once there is room")
    await says(api, session_id, "fourth")
    output = await whole(api, installation, session_id)
    assert len(output) > newest
    assert [each["data"]["id"] for each in output if each["kind"] == "input"].count(prompt["id"]) == 1


async def refused_for_want_of_room(api: Api, session_id: str, sandbox: str) -> dict[str, str]:
    """Fill the session's disk until an input is refused, and return that input.

    Once is not always enough: the agent may free a file of its own between the filling and the input.
    """
    text = "demo> say third\n" + "more than the journal's last page has left\n" * 200
    for attempt in range(5):
        as_agent(sandbox, "sh", "-c", f"cat /dev/zero >> {FILL} || test -s {FILL}")
        prompt = {"input": text, "id": f"third-{attempt}"}
        answer = await api.post(session_id, "/input", prompt)
        if answer.status_code == 503:
            assert answer.json()["code"] == "dependency_away"
            return prompt
        assert answer.status_code == 202, answer.text
    raise AssertionError("every input found room on a full disk")


def small_volume(installation: Installation, session_id: str) -> None:
    """Give a sleeping session another volume, empty and of 12 MB."""
    volume = f"jelmore-{session_id}"
    run(["docker", "volume", "rm", volume])
    small = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=12m"]
    marks = ["--label", f"jelmore.session={session_id}", "--label", f"jelmore.instance={installation.instance}"]
    docker("volume", "create", *small, *marks, volume)


@pytest.mark.parametrize("left", ["a container", "a workspace"])
def test_an_empty_database_facing_somebodys_work_is_refused(runner_image: None, left: str) -> None:
    installation = Installation()
    session_id = uuid4()
    marks = ["--label", f"jelmore.session={session_id}", "--label", f"jelmore.instance={installation.instance}"]
    if left == "a container":
        stray, listing = claim(installation, str(uuid4()), 1), ["ps", "-q", "--no-trunc"]
    else:
        stray, listing = docker("volume", "create", *marks, f"jelmore-{session_id}").strip(), ["volume", "ls", "-q"]
    try:
        with pytest.raises(AssertionError) as refused:
            installation.start()
        message = str(refused.value)
        assert "the database has no session" in message
        assert "DATABASE_URL" in message
        assert f"label=jelmore.instance={installation.instance}" in message
        assert stray in docker_lines(*listing, "--filter", f"label=jelmore.instance={installation.instance}")
    finally:
        installation.abandon()
        installation.discard()
