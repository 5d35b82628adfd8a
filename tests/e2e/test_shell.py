"""`jelmore shell` and the client's terminals against the whole system."""

import asyncio
import os
import signal
import termios
from pathlib import Path

import pytest

from jelmore_client import AsyncJelmore, Jelmore
from tests.e2e.test_command import COMMAND, Shell, Terminal
from tests.support.stack_client import Api


@pytest.fixture
def shell(quick_api: Api, tmp_path: Path) -> Shell:
    return Shell(quick_api, tmp_path)


async def piped(shell: Shell, given: bytes, *words: str) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=shell.environment, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(90):
        out, err = await process.communicate(given)
    return process.returncode or 0, out, err


async def test_commands_in_a_pipe(shell: Shell, quick_api: Api) -> None:
    created = await quick_api.create()
    session_id, data = created["id"], bytes(range(256)) * 3000
    code, out, err = await piped(shell, data, "shell", session_id, "--command", "tee kept; echo done >&2; exit 9")
    assert (code, out, err) == (9, data, b"done\n")
    code, out, _ = await piped(shell, b"", "shell", session_id, "--command", "cat kept | wc -c; id -un", "--cwd", ".")
    assert (code, out.split()) == (0, [str(len(data)).encode(), b"agent"])
    code, out, _ = await piped(shell, b"echo $((40+2))\nexit 3\n", "shell", session_id)
    assert (code, out) == (3, b"42\n"), "a shell reads commands from a pipe"
    assert (await shell.run("shell", "ffffffff", "--command", "true"))[0] == 4


async def test_a_person_works_in_a_shell_leaves_and_comes_back(shell: Shell, quick_api: Api) -> None:
    session_id = (await quick_api.create())["id"]
    async with Terminal(shell, "shell", session_id) as terminal:
        await terminal.until(lambda seen: "$" in seen)
        terminal.type("stty size; id -un\r")
        await terminal.until(lambda seen: "30 120" in seen and "agent" in seen)
        termios.tcsetwinsize(terminal._main, (20, 66))
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.type("sleep 1; stty size\r")
        await terminal.until(lambda seen: "20 66" in seen)
        terminal.type("sleep 1000\r")
        await terminal.until(lambda seen: "sleep 1000" in seen)
        terminal.type("\x03")
        terminal.type("X=kept''-here\r")
        await terminal.until(lambda seen: "kept''-here" in seen)
        terminal.type("\r~.")
        async with asyncio.timeout(30):
            assert await terminal.process.wait() == 0
    async with (
        Terminal(shell, "shell", session_id) as again,
        Terminal(shell, "shell", session_id, "--watch") as watcher,
    ):
        await again.until(lambda seen: "20 66" in seen)  # the replay
        again.type("echo it-is-$X\r")
        await again.until(lambda seen: "it-is-kept-here" in seen)
        await watcher.until(lambda seen: "it-is-kept-here" in seen)
        again.type("exit 6\r")
        async with asyncio.timeout(30):
            assert await again.process.wait() == 6
            assert await watcher.process.wait() == 6


async def test_both_clients_open_terminals(quick_api: Api) -> None:
    session_id = (await quick_api.create())["id"]
    stack = quick_api.stack
    async with AsyncJelmore(stack.url, api_key=stack.api_key) as client:
        session = await client.sessions.get(session_id)
        async with session.terminal(command="cat", pty=False) as terminal:
            await terminal.write(b"hello")
            await terminal.end_input()
            found = b""
            while not terminal.state.ended:
                output = await terminal.read()
                found += output.data if output else b""
        assert (found, terminal.state.exit_code) == (b"hello", 0)

    def synchronously() -> tuple[bytes, int | None]:
        with (
            Jelmore(stack.url, api_key=stack.api_key) as client,
            client.sessions.get(session_id).terminal(command="echo sync; exit 2", pty=False) as terminal,
        ):
            found = b""
            while not terminal.state.ended:
                output = terminal.read()
                found += output.data if output else b""
            return found, terminal.state.exit_code

    assert await asyncio.to_thread(synchronously) == (b"sync\n", 2)
