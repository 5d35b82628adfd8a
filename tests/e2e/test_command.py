"""The `jelmore` command against the whole system, also on a terminal."""

import asyncio
import json
import os
import pty
import re
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from tests.support.stack_client import Api

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

COMMAND = [sys.executable, "-m", "jelmore_client.cli"]


class Shell:
    """Runs commands as a user of the stack."""

    def __init__(self, api: Api, home: Path) -> None:
        self.environment = {
            **os.environ,
            "JELMORE_URL": api.stack.url,
            "JELMORE_API_KEY": api.stack.api_key,
            "XDG_CONFIG_HOME": str(home),
            "TERM": "xterm",
        }

    async def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *words, env=self.environment, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(90):
            out, err = await process.communicate(stdin.encode())
        return process.returncode or 0, out.decode(), err.decode()


class Terminal:
    """A command on a pseudo terminal."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self._main, other = pty.openpty()
        termios.tcsetwinsize(other, (30, 120))
        self.seen = ""
        self._start = asyncio.create_subprocess_exec(
            *COMMAND, *words, env=shell.environment, stdin=other, stdout=other, stderr=other, start_new_session=True
        )
        self._other = other

    async def __aenter__(self) -> Self:
        self.process = await self._start
        os.close(self._other)
        os.set_blocking(self._main, False)
        asyncio.get_running_loop().add_reader(self._main, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._main)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._main)

    def _read(self) -> None:
        with suppress(OSError):
            piece = os.read(self._main, 65536).decode("utf-8", "replace")
            self.seen += piece
            if "\x1b[6n" in piece:
                os.write(self._main, b"\x1b[1;1R")  # where the cursor is, as a terminal answers

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    async def until(self, condition: Callable[[str], bool]) -> None:
        try:
            async with asyncio.timeout(60):
                while not condition(_ESCAPES.sub("", self.seen)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"the terminal shows {self.seen[-4000:]!r}") from None


@pytest.fixture
def shell(quick_api: Api, tmp_path: Path) -> Shell:
    return Shell(quick_api, tmp_path)


async def test_a_pipeline_runs_a_prompt_and_reads_what_happened(shell: Shell) -> None:
    code, out, err = await shell.run("run", "demo> say from a pipe", "--title", "piped")
    assert (code, out) == (0, "[demo model] from a pipe\n")
    assert "jelmore attach" in err
    _, listed, _ = await shell.run("ls", "--json")
    session = json.loads(listed.splitlines()[0])
    assert session["title"] == "piped"
    _, table, _ = await shell.run("ls")
    assert table.splitlines()[0].split() == ["ID", "STATE", "ACTIVE", "TITLE", "TURNS"]
    assert session["id"][-8:] in table
    _, logs, _ = await shell.run("logs", "@")
    assert "> demo> say from a pipe" in logs
    assert "[demo model] from a pipe" in logs
    code, out, _ = await shell.run("send", session["id"][-8:], "demo> say again", "--json")
    assert (code, json.loads(out)["text"]) == (0, "[demo model] again")
    assert session["id"][-8:] in (await shell.run("search", "pipe"))[1]
    assert "from a pipe" in (await shell.run("transcript", "@"))[1]
    assert (await shell.run("usage", "--by", "session", "--json"))[1].count(session["id"]) == 1
    assert (await shell.run("rm", "@"))[0] == 0
    assert json.loads((await shell.run("show", session["id"], "--json"))[1])["status"] == "terminated"
    options = ("--profile", "default", "--network", "none", "--budget", "1.5", "--permission-mode", "plan")
    code, name, err = await shell.run("run", "-d", *options)
    assert code == 0, err
    made = json.loads((await shell.run("show", name.strip(), "--json"))[1])
    assert (made["network"]["mode"], made["budget_usd"], made["permission_mode"]) == ("none", 1.5, "plan")
    assert (await shell.run("rm", name.strip()))[0] == 0
    code, _, err = await shell.run("run", "-d", "--network", "everything")
    assert (code, "network" in err) == (1, True), err
    code, events, _ = await shell.run("events", "--type", "session.created", "--json")
    assert code == 0
    assert session["id"] in {json.loads(line)["session_id"] for line in events.splitlines()}


async def test_keys_are_made_and_revoked(shell: Shell) -> None:
    code, key, _ = await shell.run("keys", "create", "--name", "pipeline")
    assert (code, key.startswith("jlm_")) == (0, True)
    row = next(line.split() for line in (await shell.run("keys"))[1].splitlines() if "pipeline" in line)
    assert (await shell.run("keys", "revoke", row[0]))[0] == 0
    shell.environment["JELMORE_API_KEY"] = key.strip()
    assert (await shell.run("ls"))[0] == 1


async def test_a_credential_is_read_from_a_pipe_and_listed_without_its_value(shell: Shell) -> None:
    given = ("ANTHROPIC_API_KEY", "--user", "ann")
    assert (await shell.run("credentials", "set", *given, stdin="sk-ant-planted\n"))[0] == 0
    code, table, _ = await shell.run("credentials")
    assert (code, table.splitlines()[1].split()[:3]) == (0, ["ANTHROPIC_API_KEY", "user", "ann"])
    assert "planted" not in table
    assert (await shell.run("credentials", "set", *given, stdin=""))[0] == 2
    assert (await shell.run("credentials", "remove", *given))[0] == 0
    assert (await shell.run("credentials", "remove", *given))[0] != 0


async def test_a_turn_that_waits_has_an_exit_code_and_is_in_the_inbox(shell: Shell) -> None:
    code, _, err = await shell.run("run", "demo> run touch x")
    assert (code, "waits for an answer" in err) == (5, True)
    _, inbox, _ = await shell.run("inbox")
    assert "Bash" in inbox.splitlines()[1]
    assert (await shell.run("answer", "@", "allow"))[0] == 0
    assert (await shell.run("answer", "@", "allow"))[0] == 2  # nothing waits any more
    assert (await shell.run("rm", "@"))[0] == 0


async def test_files_are_copied_in_and_out(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "project" / "src").mkdir(parents=True)
    (tmp_path / "project" / "src" / "a.txt").write_text("from the laptop\n")
    _, session_id, _ = await shell.run("run", "-d")
    place = session_id.strip()[-8:]
    assert (await shell.run("cp", f"{tmp_path}/project/.", f"{place}:"))[0] == 0
    code, out, _ = await shell.run("send", place, "demo> read src/a.txt")
    assert (code, "from the laptop" in out) == (0, True)
    assert "src/" in (await shell.run("files", place))[1]
    assert (await shell.run("rm", place))[0] == 0
    assert (await shell.run("cp", f"{place}:src", str(tmp_path / "back")))[0] == 0  # of a session that has ended
    assert (tmp_path / "back" / "a.txt").read_text() == "from the laptop\n"
    assert (await shell.run("cp", f"{place}:src/a.txt", str(tmp_path / "b.txt")))[0] == 0
    assert (tmp_path / "b.txt").read_text() == "from the laptop\n"
    assert (await shell.run("cp", "here", "there"))[0] == 2
    assert (await shell.run("cp", f"{place}:nothing", str(tmp_path)))[0] == 4


async def test_bad_use_says_what_to_do(shell: Shell) -> None:
    code, _, err = await shell.run("show", "ffffffffffff")
    assert (code, err.count("\n")) == (4, 1)
    shell.environment["JELMORE_API_KEY"] = "wrong"
    code, _, err = await shell.run("ls")
    assert (code, "jelmore login" in err) == (1, True)
    shell.environment["JELMORE_URL"] = "http://127.0.0.1:9"
    code, _, err = await shell.run("ls")
    assert (code, "Is the server running" in err) == (3, True)
    code, out, _ = await shell.run("doctor")
    assert (code, "make run" in out) == (1, True)


async def test_doctor_and_login(shell: Shell, quick_api: Api) -> None:
    code, out, _ = await shell.run("doctor")
    assert code == 0, out
    code, _, err = await shell.run("login", quick_api.stack.url, "--name", "here")
    assert code == 0, err
    for name in ("JELMORE_URL", "JELMORE_API_KEY"):
        del shell.environment[name]
    assert (await shell.run("ls"))[0] == 0
    assert (await shell.run("logout", "--name", "here"))[0] == 0


async def test_a_person_talks_allows_interrupts_and_leaves(shell: Shell) -> None:
    async with Terminal(shell, "run", "demo> run touch x; echo allowed-$((40+2))") as terminal:
        await terminal.until(lambda seen: "allow? y, a" in seen)
        terminal.type("y\r")
        await terminal.until(lambda seen: "allowed-42" in seen)
        await terminal.until(lambda seen: "ready" in seen.rpartition("allowed-42")[2])
        terminal.type("demo> sleep 60\r")
        await terminal.until(lambda seen: "working" in seen.rpartition("sleep 60")[2])
        terminal.type("\x03")
        await terminal.until(lambda seen: "ready" in seen.rpartition("sleep 60")[2])
        terminal.type("\x04")
        async with asyncio.timeout(30):
            assert await terminal.process.wait() == 0
    assert (await shell.run("rm", "@"))[0] == 0
