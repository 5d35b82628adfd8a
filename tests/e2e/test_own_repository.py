"""`jelmore run --repo .` in a real repository, with the agent in a container: ends with a branch."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.e2e.test_command import Shell
from tests.support.own_repository import git, make
from tests.support.stack_client import Api


@pytest.fixture
def shell(quick_api: Api, tmp_path: Path) -> Shell:
    return Shell(quick_api, tmp_path)


async def here(shell: Shell, folder: Path, *words: str) -> tuple[int, str, str]:
    """Run the command in a folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jelmore_client.cli", *words,
        env=shell.environment, cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_from_a_working_directory_to_a_branch(shell: Shell, tmp_path: Path) -> None:
    own = make(tmp_path / "own")
    head, branch = git(own, "rev-parse", "HEAD"), git(own, "branch", "--show-current")
    (own / "changed").write_text("mine, uncommitted\n")
    work = "cat changed && echo by-the-agent > made && git add made && git commit -qm 'made by the agent' && whoami"
    code, session_id, err = await here(shell, own, "run", "-d", "--repo", ".", "--permission-mode", "bypassPermissions")
    assert code == 0, err
    name = session_id.strip()[-8:]
    code, out, err = await here(shell, own, "send", name, f"demo> run {work}")
    assert (code, "mine, uncommitted" in out, "agent" in out) == (0, True, True), (out, err)

    code, patch, _ = await here(shell, own, "diff", name, "--against", "start")
    assert (code, "+by-the-agent" in patch, "uncommitted" in patch) == (0, True, False)
    code, pulled, err = await here(shell, own, "pull", name, "--json")
    assert code == 0, err
    found = json.loads(pulled)
    assert found["branch"] == f"jelmore/{name}"
    assert git(own, "log", "-1", "--format=%s", found["branch"]) == "made by the agent"
    assert git(own, "show", f"{found['branch']}:made") == "by-the-agent"
    assert git(own, "rev-parse", "HEAD", found["branch"] + "~2") == f"{head}\n{head}"
    assert (git(own, "branch", "--show-current"), git(own, "status", "--porcelain")) == (branch, " M changed")
    assert (await here(shell, own, "rm", name))[0] == 0


async def test_one_command_takes_a_repository_there_and_brings_a_branch_back(shell: Shell, tmp_path: Path) -> None:
    own = make(tmp_path / "own")
    head = git(own, "rev-parse", "HEAD")
    words = (
        "run",
        "--rm",
        "--repo",
        ".",
        "--permission-mode",
        "bypassPermissions",
        "demo> run echo by-the-agent > made",
    )
    code, out, err = await here(shell, own, *words)
    assert code == 0, (out, err)
    branch = git(own, "for-each-ref", "--format=%(refname:short)", "refs/heads/jelmore")
    assert f"git merge {branch}" in err
    assert git(own, "show", f"{branch}:made") == "by-the-agent"
    assert git(own, "rev-parse", "HEAD", f"{branch}^") == f"{head}\n{head}"
