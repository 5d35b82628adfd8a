"""The guides run as they are written, against a real API, gateway and git host. Only the agent is played."""

# ruff: noqa: F811 - fixtures of another file are parameters here

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Final

import pytest

from jelmore.ports import Role
from tests.integration.api.test_repository_create import host, made, origin  # noqa: F401 - fixtures
from tests.integration.api.world import World
from tests.integration.client.test_client import end_turn, next_input
from tests.integration.client.test_repositories import port_of
from tests.support.git_server import GitServer
from tests.support.own_repository import ENVIRONMENT, git

pytestmark = pytest.mark.integration

GUIDE: Final = Path(__file__).parents[3] / "docs" / "guides" / "open-a-branch.md"
BRANCH: Final = "jelmore/mend-the-parser"
PATIENCE_S: Final = 90
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def block(language: str, url: str) -> str:
    """Return the only block of the guide in this language, with the test's repository."""
    [found] = [text for name, text in _BLOCK.findall(GUIDE.read_text()) if name == language]
    written = "https://git.example.com/team/project.git"
    assert written in found
    return str(found.replace(written, url))


async def play_the_agent(made: World) -> None:
    """Take the prompt of the first session, change a file and end the turn."""
    while not made.engine.sandboxes:
        await asyncio.sleep(0.05)
    [session_id] = made.engine.sandboxes
    input_id = await next_input(made, str(session_id))
    (made.folders.folder(session_id) / "parser").write_text("mended\n")
    await end_turn(made, str(session_id), input_id, "Mended.")


async def run(made: World, folder: Path, *words: str) -> str:
    """Run a program against this API while the agent works; return what it printed."""
    async with port_of(made) as port, asyncio.timeout(PATIENCE_S):
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=folder,
            env={**ENVIRONMENT, "JELMORE_URL": f"http://127.0.0.1:{port}", "JELMORE_API_KEY": made.keys[Role.CLIENT]},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        agent = asyncio.create_task(play_the_agent(made), name="the agent")
        try:
            out, error = await process.communicate()
        finally:
            agent.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, error.decode()
    return out.decode()


async def check_the_branch(made: World, repository: Path, printed: str) -> None:
    """Check that the branch has the agent's change on top of the repository, and that the session has ended."""
    commit = git(repository, "rev-parse", BRANCH)
    assert BRANCH in printed
    assert commit in printed
    assert git(repository, "log", "--format=%s", f"trunk..{BRANCH}") == "Mend the parser"
    assert git(repository, "show", f"{BRANCH}:parser") == "mended"
    [session] = await sessions(made)
    assert session == "terminated"


async def sessions(made: World) -> list[str]:
    async with made.client() as http:
        return [each["status"] for each in (await http.get("/api/v1/sessions")).json()]


async def test_a_branch_is_opened_with_curl(made: World, host: GitServer, origin: Path, tmp_path: Path) -> None:
    script = "set -eo pipefail\n" + block("sh", f"{host.url}/private/project.git")
    printed = await run(made, tmp_path, "bash", "-c", script)
    assert printed.splitlines()[:2] == ["Mended.", "parser"]
    await check_the_branch(made, origin / "private" / "project.git", printed)


async def test_a_branch_is_opened_with_the_python_client(
    made: World, host: GitServer, origin: Path, tmp_path: Path
) -> None:
    program = tmp_path / "guide.py"
    program.write_text(block("python", f"{host.url}/private/project.git"))
    printed = await run(made, tmp_path, sys.executable, str(program))
    assert printed.startswith("added parser\n")
    await check_the_branch(made, origin / "private" / "project.git", printed)
