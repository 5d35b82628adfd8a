"""Terminals with a real shell: keys and screens, takeover, replay, and how they end."""

import asyncio
import os
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from jelmore_protocol.terminal import MAX_TERMINALS, RING_BYTES
from jelmore_protocol.tokens import Scope
from tests.integration.runner.harness import Runner, eventually
from tests.integration.runner.terminal_client import TerminalClient, terminal

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(demo_model: str) -> AsyncIterator[Runner]:
    """A ready runner for the tests that leave it as they found it."""
    with tempfile.TemporaryDirectory(prefix="jr-") as folder:
        runner = Runner(Path(folder), demo_model)
        await runner.begin()
        yield runner
        runner.terminate()
        print(runner.log)


async def end(client: TerminalClient) -> None:
    """End the terminal and wait until it is gone."""
    await client.send(type="end")
    await client.until_closed()


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


async def run(client: TerminalClient, command: str) -> str:
    """Run a command in the shell and return what it printed."""
    start = len(client.text)
    end = secrets.token_hex(4)  # what an earlier command printed may arrive only now
    await client.type(f"{command}; echo end''-{end}\n")
    await client.until(lambda text: f"end-{end}" in text[start:])
    return client.text[start:].partition(f"end-{end}")[0]


async def test_a_shell_in_the_workspace_with_a_screen_that_follows_the_writer(shared: Runner) -> None:
    async with terminal(shared) as client:
        opened = await client.open(columns=100, rows=30)
        assert (opened["type"], opened["terminal"], opened["writer"], opened["new"]) == ("opened", "main", True, True)
        assert "30 100" in await run(client, "stty size")
        assert str(shared.folder / "session" / "workspace") in await run(client, "pwd")
        await client.send(type="resize", columns=61, rows=17)
        assert (await client.frame("size"))["columns"] == 61
        assert "17 61" in await run(client, "stty size")
        assert "xterm-256color" in await run(client, "echo $TERM")
        await client.type("exit 7\n")
        assert (await client.frame("exit"))["code"] == 7
        assert await client.until_closed() == 1000


async def test_nothing_of_the_runner_is_inherited(shared: Runner) -> None:
    async with terminal(shared) as client:
        await client.open(command="ls -l /proc/self/fd; env; cat /proc/self/stat", pty=False)
        await client.until_closed()
    numbers = re.findall(r" (\d+) -> (\S+)", client.text)
    assert {number for number, target in numbers if not target.startswith("/proc/")} == {"0", "1", "2"}
    assert "SECRET_OF_THE_OPERATOR" not in client.text
    assert "JELMORE_RUNNER" not in client.text


async def test_one_types_the_others_watch_and_whoever_may_write_takes_over(shared: Runner) -> None:
    reader = shared.token(scopes=frozenset({Scope.READ}), subject="reader")
    async with terminal(shared) as first, terminal(shared, shared.token(subject="second")) as second:
        await first.open()
        opened = await second.open(columns=50, rows=20)
        assert (opened["writer"], opened["by"], opened["new"]) == (False, "tester", False)
        await second.type("echo not''-typed\n")
        refused = await second.frame("error")
        assert (refused["code"], "take" in refused["message"]) == ("conflict", True)
        async with terminal(shared, reader) as watcher:
            assert (await watcher.open(columns=10, rows=10))["watchers"] == 2
            for frame in ({"type": "take"}, {"type": "end"}, {"type": "resize", "columns": 9, "rows": 9}):
                await watcher.send(**frame, id="x")
                assert (await watcher.frame("error"))["code"] == "forbidden"
            await watcher.type("x")
            assert (await watcher.frame("error"))["code"] == "forbidden"
            await second.send(type="take")
            assert (await watcher.frame("writer"))["by"] == "second"
        while (await first.frame("writer"))["by"] != "second":
            pass
        assert "fine" in await run(second, "echo fi''ne")
        await first.type("echo x\n")
        assert (await first.frame("error"))["code"] == "conflict"
        assert "not-typed" not in second.text
        assert "fine" in await first.until(lambda text: "fine" in text)
        await end(second)


async def test_a_reader_starts_nothing(shared: Runner) -> None:
    async with terminal(shared, shared.token(scopes=frozenset({Scope.READ}))) as client:
        refused = await client.open()
        assert (refused["type"], refused["code"]) == ("error", "unknown_request")
        assert await client.until_closed() == 1008


async def test_a_client_that_comes_back_gets_every_byte_once(shared: Runner) -> None:
    async with terminal(shared) as client:
        opened = await client.open()
        await run(client, "stty -echo; PS1=")
        await client.type("for i in $(seq 1 2000); do echo line-$i; done\n")
        await client.until(lambda text: "line-700\r" in text)
        seen = bytes(client.output)
    async with terminal(shared) as again:
        back = await again.open(instance=opened["instance"], after=opened["position"] + len(seen))
        assert (back["position"], back["gap"], back["new"]) == (len(seen), False, False)
        await again.until(lambda text: "line-2000\r" in text)
    lines = re.findall(r"line-(\d+)\r\n", (seen + bytes(again.output)).decode())
    assert [int(line) for line in lines] == list(range(1, 2001))
    async with terminal(shared) as fresh:
        replay = await fresh.open()
        assert replay["position"] == 0
        assert "line-1\r\n" in await fresh.until(lambda text: "line-2000\r" in text)
        await end(fresh)


async def test_a_long_output_is_replayed_from_a_line_on_and_says_so(shared: Runner) -> None:
    async with terminal(shared) as client:
        await client.open()
        await run(client, "stty -echo; PS1=; seq -f 'a line that is long enough %06.0f' 1 20000")
    async with terminal(shared) as fresh:
        opened = await fresh.open()
        assert opened["gap"] is True
        await fresh.until(lambda text: "enough 020000" in text)
        assert fresh.text.startswith("a line that is long enough ")
        assert RING_BYTES * 0.9 < len(fresh.output) < RING_BYTES * 1.3
        await end(fresh)


async def test_pipes_carry_bytes_unchanged_and_the_exit_code(shared: Runner) -> None:
    data = bytes(range(256)) * 2000
    async with terminal(shared) as client:
        await client.open(command="cat; echo wrong >&2; exit 3", pty=False)

        async def feed() -> None:
            for start in range(0, len(data), 60_000):
                await client.type(data[start : start + 60_000])
            await client.send(type="eof")

        feeding = asyncio.create_task(feed(), name="feed")
        ended = await client.frame("exit")
        await feeding
        assert await client.until_closed() == 1000
    assert bytes(client.streams["stdout"]) == data
    assert bytes(client.streams["stderr"]) == b"wrong\n"
    assert (ended["code"], ended["signal"]) == (3, None)


async def test_a_command_is_read_to_its_end_after_a_lost_connection(shared: Runner) -> None:
    """It writes more than is kept while its client is away: it waits for the client instead of losing output."""
    workspace = shared.folder / "session" / "workspace"
    count = RING_BYTES // 4
    command = f"seq 1 2000; until [ -e go ]; do sleep 0.05; done; seq 2001 {count}; exit 5"
    async with terminal(shared) as client:
        opened = await client.open(command=command, pty=False)
        await client.until(lambda text: text.endswith("\n2000\n"))
    (workspace / "go").touch()
    async with terminal(shared) as watcher:
        await watcher.open(instance=opened["instance"], watch=True)
        await watcher.until(lambda text: len(text) > RING_BYTES // 3)
    async with terminal(shared) as again:
        back = await again.open(instance=opened["instance"], after=len(client.output))
        assert back["gap"] is False
        assert (await again.frame("exit"))["code"] == 5
    whole = (bytes(client.output) + bytes(again.output)).decode().split()
    assert whole == [str(number) for number in range(1, count + 1)]


async def test_a_client_that_reads_slowly_slows_the_command_down(shared: Runner) -> None:
    async with terminal(shared) as client:
        await client.open(command="seq 1 3000000 | tee /dev/stderr", pty=False)
        await client.until(lambda text: len(text) > 10_000)
        before = (await shared.health())["rss_bytes"]
        await asyncio.sleep(0)
        health = await eventually(shared.health, "the runner answers")
        assert health["rss_bytes"] - before < 20 * 1024 * 1024
        await client.send(type="end")
        assert (await client.frame("exit"))["signal"] is not None


async def test_the_whole_process_tree_ends_with_the_terminal(shared: Runner) -> None:
    async with terminal(shared) as client:
        await client.open()
        said = await run(
            client, "nohup sleep 1000 >/dev/null 2>&1 & (trap '' HUP; exec sleep 1001) & echo $! $$; jobs -p"
        )
        pids = [int(word) for word in re.findall(r"\b\d{2,}\b", said) if alive(int(word))]
        assert len(pids) >= 3
        await client.send(type="end")
        assert (await client.frame("exit"))["signal"] in {"SIGHUP", "SIGKILL"}
        assert await client.until_closed() == 1000
    await eventually(lambda: not any(map(alive, pids)), "no process of the terminal is left")


async def test_terminals_end_with_the_session_and_not_with_a_crash_of_the_agent(runner: Runner) -> None:
    await runner.begin()
    async with terminal(runner) as client:
        await client.open()
        pid = int(re.findall(r"pid=(\d+)", await run(client, "echo pid=$$"))[-1])
        agent = (await runner.health())["agent_pid"]
        os.kill(agent, 9)

        async def restarted() -> bool:
            return (await runner.health())["agent_pid"] not in {None, agent}

        await eventually(restarted, "Claude Code is started again")
        assert str(pid) in await run(client, "echo still-$$")
        await runner.stop()
        assert await client.until_closed() in {1000, 1001}
    await eventually(lambda: not alive(pid), "the shell has ended")


FULL_SCREEN: Final = """
import curses
def main(screen):
    curses.curs_set(0)
    number = 0
    screen.timeout(5)
    while True:
        key = screen.getch()
        if key == curses.KEY_RESIZE or number == 0:
            screen.clear()
            for row in range(1, 20):
                screen.addstr(row, 0, f"row {row:02} " + "of the full screen")
        if key == curses.KEY_UP:
            screen.addstr(21, 0, "up was pressed")
        number += 1
        screen.addstr(0, 0, str(number) + " " + chr(97 + number % 26) * 60)
        screen.refresh()
curses.wrapper(main)
"""


async def test_a_full_screen_program_is_whole_for_who_comes_after_much_output(shared: Runner) -> None:
    (shared.folder / "session" / "workspace" / "full.py").write_text(FULL_SCREEN)
    async with terminal(shared) as first:
        await first.open(terminal="full", command="exec python3 full.py")
        while len(first.output) <= 2 * RING_BYTES:
            await first.next()
    async with terminal(shared) as later:
        opened = await later.open(terminal="full")
        assert (opened["new"], opened["gap"], opened["writer"]) == (False, True, True)
        assert opened["end"] > opened["position"] > 0
        await later.until(lambda text: all(f"row {row:02}" in text for row in range(1, 20)))
        assert later.output.startswith(b"\x1b[?1049h\x1b[?1h"), "its own screen, and its form of the arrow keys"
        await later.type(b"\x1bOA")
        await later.until(lambda text: "up was pressed" in text)
        position = opened["position"] + len(later.output)
    async with terminal(shared) as again:
        back = await again.open(instance=opened["instance"], after=position)
        assert (back["gap"], back["position"]) == (False, position)
        await end(again)


async def test_typing_keeps_the_session_awake(runner: Runner) -> None:
    await runner.begin()
    assert (await runner.health())["background"] == 0
    async with terminal(runner) as client:
        await client.open()
        assert (await runner.health())["background"] >= 1
        refused = await runner.call("/quiet", {"on": True})
        assert refused.status_code == 409
        assert "terminal" in refused.json()["message"]
        await client.send(type="end")
        await client.until_closed()

    async def paused() -> bool:
        return (await runner.call("/quiet", {"on": True})).status_code == 200

    await eventually(paused, "nothing keeps it awake any more")


async def test_the_number_of_terminals_is_bounded(shared: Runner) -> None:
    for number in range(MAX_TERMINALS):
        async with terminal(shared) as client:
            assert (await client.open(terminal=f"t{number}"))["new"] is True
    async with terminal(shared) as client:
        refused = await client.open(terminal="one-more")
        assert (refused["code"], "t0" in refused["message"]) == ("queue_full", True)
        assert await client.until_closed() == 1013
    async with terminal(shared) as client:
        assert (await client.open(terminal="t0"))["new"] is False
    for number in range(MAX_TERMINALS):
        async with terminal(shared) as client:
            await client.open(terminal=f"t{number}")
            await end(client)


@pytest.mark.parametrize(
    ("first", "field"),
    [
        ({"type": "resize", "columns": 80, "rows": 24}, "type"),
        ({"type": "open", "columns": 0}, "columns"),
        ({"type": "open", "terminal": "../x"}, "terminal"),
        ({"type": "open", "term": "a b"}, "term"),
        ({"type": "open", "cwd": "/etc"}, "cwd"),
        ({"type": "open", "instance": "gone"}, "instance"),
    ],
)
async def test_a_bad_open_is_refused_by_the_name_of_its_field(
    shared: Runner, first: dict[str, object], field: str
) -> None:
    async with terminal(shared) as client:
        await client.send(**first)
        refused = await client.frame()
        assert refused["type"] == "error"
        assert field in refused["message"]
        assert await client.until_closed() == 1008


async def test_without_a_token_nothing_is_sent(shared: Runner) -> None:
    async with terminal(shared, "wrong") as client:
        assert await client.until_closed() == 4401
        assert client.frames == []
