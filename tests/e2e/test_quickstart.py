"""Own promises of the quick start: Ctrl-C leaves only data, a second start continues with it, faults are one line."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.stack import docker_lines, free_port
from tests.support.stack_client import SESSIONS, Api, is_result, talk_to, tool_answers
from tests.support.stack_quickstart import QuickStart
from tests.support.stack_stores import published, rows, stream_entries


@contextmanager
def discarded(stack: QuickStart) -> Iterator[QuickStart]:
    """Stop and remove a stack at the end, whatever happens."""
    try:
        yield stack
    finally:
        try:
            stack.stop()
        finally:
            stack.discard()


@pytest.mark.usefixtures("runner_image")
async def test_sessions_come_back_after_ctrl_c() -> None:
    with discarded(QuickStart(own_model=True)) as stack:
        stack.start()
        api = Api(stack)
        idle = await api.create("demo> write note.txt kept\ndemo> words 300", permission_mode="acceptEdits")
        busy = await api.create("demo> words 2000 20", allowed_tools=["Bash"])
        async with talk_to(idle, after=0) as talk, talk_to(busy, after=0) as streaming:
            first = (await talk.turn())["data"]["message"]
            await streaming.frame(lambda frame: frame["type"] == "delta")
            stack.stop()
            assert await talk.closed() == 1001, "it goes on later"
            assert await streaming.closed() == 1001
        await api.http.aclose()
        assert stack.remains() == []
        assert (stack.data_dir / "env").stat().st_mode & 0o777 == 0o600

        stack.start()
        api = Api(stack)
        for each in (idle, busy):
            shown = await api.until(each["id"], status="waiting_input", waiting_for="prompt", seconds=60)
            assert shown["generation"] == each["generation"] + 1
            assert shown["health"]["restarts"] == 0, "it was put to rest, it did not crash"
        result = await api.ask(idle["id"], "demo> read /session/workspace/note.txt")
        assert "kept" in tool_answers(await api.all(idle["id"], "output"))[-1]
        # Two calls of the model, each with the whole conversation: without the earlier turn they would be smaller.
        assert result["usage"]["input_tokens"] > first["usage"]["input_tokens"] + 300
        whole = await api.all(busy["id"], "output")
        # The turn that was running is reported once: by its result, as after an interrupt, or as never finished.
        (lost,) = [event for event in whole if is_result(event) or event["kind"] == "interrupted"]
        assert lost["kind"] == "interrupted" or lost["data"]["message"]["is_error"]
        for session_id in (idle["id"], busy["id"]):
            output = await api.all(session_id, "output")
            seqs = list(range(1, len(output) + 1))
            assert [event["seq"] for event in output] == seqs
            assert await rows(stack, session_id) == seqs
            assert [frame["seq"] for _, frame in await stream_entries(stack, session_id)] == seqs[-1:] or seqs
            events = await api.all(session_id, "events")
            on_the_bus = await published(stack, session_id, len(events))
            assert [event["seq"] for event in on_the_bus] == list(range(1, len(events) + 1))
        await api.close()
        stack.stop()
        assert stack.remains() == []


@pytest.mark.usefixtures("runner_image")
async def test_a_missing_image_is_named_and_leaves_nothing_half_made() -> None:
    with discarded(QuickStart(own_model=True, JELMORE_RUNNER_IMAGE="jelmore/nope:none")) as stack:
        stack.start()
        api = Api(stack)
        answer = await api.http.post(SESSIONS, json={"query": "hello"})
        assert answer.status_code == 503, answer.text
        problem = answer.json()
        assert "jelmore/nope:none" in problem["detail"]
        assert (await api.http.get(f"{SESSIONS}/stats")).json()["slots"]["used"] == 0
        listed = (await api.http.get(SESSIONS)).json()
        assert {each["status"] for each in listed} <= {"failed"}
        assert stack.containers() == []
        assert docker_lines("volume", "ls", "-q", "--filter", f"label=jelmore.instance={stack.instance}") == []
        assert list((stack.run_dir / "routes").iterdir()) == []
        health = await api.http.get("/health")
        assert health.status_code == 503
        assert "jelmore/nope:none" in health.json()["checks"]["sandboxes"]["message"]
        await api.http.aclose()
        stack.stop()
        assert stack.remains() == []
        assert "Traceback" not in stack.output.read_text()


def one_line(**settings: str) -> tuple[int, str]:
    """Return exit status and words of a quick start that cannot continue."""
    stack = QuickStart(own_model=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jelmore", "quickstart"],
            cwd=stack.folder,
            env={**stack.environment(), **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not stack.data_dir.exists(), "nothing may be made"
    finally:
        stack.discard()
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed
    (line,) = printed.splitlines()
    return done.returncode, line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JELMORE_MAX_SESSIONS", "many"),
        ("JELMORE_MAX_SESSIONS", "0"),
        ("JELMORE_HTTP_LISTEN", "127.0.0.1:99999"),
        ("JELMORE_RUNTIME", "cloud"),
        ("JELMORE_INSTANCE", "Not A Name"),
        ("JELMORE_API_KEY", "short"),
        ("ANTHROPIC_BASE_URL", "ftp://model"),
        ("JELMORE_RUN_DIR", "/tmp/" + "long" * 30),
    ],
)
def test_a_bad_setting_is_named_in_one_line(name: str, value: str) -> None:
    status, line = one_line(**{name: value})
    assert status == 2
    assert line.startswith(f"jelmore-server: {name}: ")


def test_an_occupied_port_is_reported_in_one_line() -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        status, line = one_line(JELMORE_HTTP_LISTEN=f"127.0.0.1:{port}")
    assert status == 2
    assert line.startswith("jelmore-server: JELMORE_HTTP_LISTEN: ")
    assert str(port) in line


async def test_without_docker_sessions_are_plain_processes_and_that_is_said_loudly() -> None:
    with discarded(QuickStart(own_model=True, JELMORE_RUNTIME="local")) as stack:
        stack.start()
        assert "no isolation" in stack.output.read_text()
        api = Api(stack)
        created = await api.create("demo> write note.txt kept", permission_mode="acceptEdits")
        async with talk_to(created, after=0) as talk:
            await talk.turn()
        await api.ask(created["id"], "demo> read note.txt")
        assert "kept" in tool_answers(await api.all(created["id"], "output"))[-1]
        await api.close()
        stack.stop()
        assert stack.remains() == []
