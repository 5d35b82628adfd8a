"""Repositories with the Python client and the `jelmore` command: a real API, real git, the command as a process."""

# ruff: noqa: F811 - fixtures of another file are parameters here

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jelmore.ports import Role
from jelmore_client import AsyncJelmore, ConflictError, InvalidRequestError, NotFoundError, Repository
from tests.integration.api.test_repository_create import host, made, origin  # noqa: F401 - fixtures
from tests.integration.api.world import World, world
from tests.integration.client.test_client import PERMISSION, connect, end_turn, next_input
from tests.support.git_server import GitServer
from tests.support.own_repository import ENVIRONMENT, commit, git, make

pytestmark = pytest.mark.integration

PATIENCE_S = 60


@pytest.fixture
async def api() -> AsyncIterator[World]:
    async with world() as it:
        yield it


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return make(tmp_path / "own")


@asynccontextmanager
async def port_of(api: World) -> AsyncIterator[int]:
    """Yield a TCP port that leads to the API's socket."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(api.socket_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, there_writer), name="to the API")
            group.create_task(pump(there_reader, writer), name="from the API")

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def jelmore(api: World, folder: Path, *words: str) -> tuple[int, str, str]:
    """Run the command in `folder`; return exit code, standard output and standard error."""
    async with port_of(api) as port:
        environment = {
            **ENVIRONMENT,
            "JELMORE_URL": f"http://127.0.0.1:{port}",
            "JELMORE_API_KEY": api.keys[Role.ADMIN],
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "jelmore_client.cli", *words,
            cwd=folder, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def created(api: World, folder: Path, *words: str) -> str:
    """Create a session with the command, and return its id."""
    code, out, error = await jelmore(api, folder, "run", "-d", *words)
    assert code == 0, error
    return out.strip()


# --- the command


async def test_the_work_folder_goes_along_and_a_branch_comes_back(api: World, own: Path) -> None:
    head = git(own, "rev-parse", "HEAD")
    (own / "changed").write_text("mine, uncommitted\n")
    running = asyncio.create_task(jelmore(api, own, "run", "--repo", ".", "mend it"), name="running")
    async with connect(api) as client:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [each async for each in client.sessions.list()]):
                await asyncio.sleep(0.05)
        session_id = found[0].id
        input_id = await next_input(api, session_id)
    there = api.folders.folder(session_id)
    assert (there / "changed").read_text() == "mine, uncommitted\n"  # in place before the prompt
    assert git(there, "rev-parse", "HEAD~") == head
    theirs = commit(there, "mended", kept="mended\n")
    (there / "new").write_text("new\n")
    await end_turn(api, session_id, input_id, "done")
    code, out, error = await running
    name = session_id[-8:]
    assert (code, out) == (0, "done\n")
    assert f"git merge jelmore/{name}" in error
    assert git(own, "log", "--format=%s", f"{theirs}..jelmore/{name}") == "mend it"
    assert git(own, "show", f"jelmore/{name}:new") == "new"
    assert git(own, "status", "--porcelain") == " M changed"
    (there / "new").write_text("newer\n")

    _, patch, _ = await jelmore(api, own, "diff", name, "--against", "start")
    assert ("+mended" in patch, "+new" in patch, "mine, uncommitted" in patch) == (True, True, False)
    _, shown, _ = await jelmore(api, own, "diff", name, "--json", "--against", head)
    assert [each["path"] for each in json.loads(shown)["files"]] == ["changed", "kept", "new"]

    code, out, error = await jelmore(api, own, "pull", name)
    assert (code, out) == (0, f"jelmore/{name}\n")
    assert "1 changed files are uncommitted" in error
    assert git(own, "rev-parse", f"jelmore/{name}^", "trunk") == f"{theirs}\n{head}"
    code, out, _ = await jelmore(api, own, "pull", name, "mended", "--commit", "the rest")
    assert (code, out) == (0, "mended\n")
    assert git(own, "log", "--format=%s", f"{theirs}..mended") == "the rest\nmend it"
    assert git(own, "status", "--porcelain") == " M changed"


async def started_run(api: World, own: Path, *words: str) -> tuple[str, str, "asyncio.Task[tuple[int, str, str]]"]:
    """Return the session and the input of a `run --repo .` whose turn runs, and the task of the command."""
    running = asyncio.create_task(jelmore(api, own, "run", "--repo", ".", *words, "mend it"), name="running")
    async with connect(api) as client:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [each async for each in client.sessions.list()]):
                await asyncio.sleep(0.05)
    return found[0].id, await next_input(api, found[0].id), running


@asynccontextmanager
async def run_with(
    api: World, own: Path, *words: str
) -> AsyncIterator[tuple[str, "asyncio.Task[tuple[int, str, str]]"]]:
    """Yield the session of a `run --repo .` whose turn ends after the block, and the task of the command."""
    session_id, input_id, running = await started_run(api, own, *words)
    yield session_id, running
    await end_turn(api, session_id, input_id, "done")
    await running


async def test_a_run_that_changed_nothing_brings_no_branch(api: World, own: Path) -> None:
    (own / "changed").write_text("mine, uncommitted\n")
    async with run_with(api, own, "--rm") as (_, running):
        pass
    code, out, error = running.result()
    assert (code, out, "nothing has changed" in error) == (0, "done\n", True), error
    assert git(own, "branch", "--list", "jelmore/*") == ""


async def test_work_that_cannot_be_fetched_keeps_its_session(api: World, own: Path) -> None:
    async with run_with(api, own, "--rm") as (session_id, running):
        there = api.folders.folder(session_id)
        (there / "new").write_text("new\n")
        (there / ".git").rename(there / "moved")
    code, out, error = running.result()
    assert (code, out, f"jelmore pull {session_id[-8:]}" in error) == (1, "done\n", True), error
    async with connect(api) as client:
        assert not (await client.sessions.get(session_id)).info.ended
        (there / "moved").rename(there / ".git")
    code, out, error = await jelmore(api, own, "pull", session_id, "--commit", "the work")
    assert (code, out) == (0, f"jelmore/{session_id[-8:]}\n"), error


async def test_a_run_that_ends_its_session_does_not_advise_to_answer(api: World, own: Path) -> None:
    session_id, _, running = await started_run(api, own, "--rm")
    await (await api.runner(session_id)).ask(PERMISSION)
    code, out, error = await running
    assert (code, out, "--rm ends the session" in error, "jelmore answer" in error) == (5, "", True, False), error
    assert f"jelmore pull {session_id[-8:]}" in error
    async with connect(api) as client:
        assert (await client.sessions.get(session_id)).info.ended
    code, _, error = await jelmore(api, own, "pull", session_id, "--commit", "what it left")
    assert (code, "nothing" in error) == (1, True), error


async def test_a_run_ends_its_session_or_leaves_it(api: World, own: Path) -> None:
    code, _, error = await jelmore(api, own, "run", "--rm", "--detach", "mend it")
    assert (code, "--detach lets it run" in error) == (2, True), error


async def test_a_pull_never_overwrites_a_branch_and_says_what_to_do(api: World, own: Path) -> None:
    session_id = await created(api, own, "--repo", str(own))
    code, _, error = await jelmore(api, own, "pull", "@")
    assert (code, "nothing to fetch" in error) == (1, True)
    there = api.folders.folder(session_id)
    (there / "new").write_text("new\n")
    code, _, error = await jelmore(api, own, "pull", "@")
    assert (code, "--commit MESSAGE" in error) == (1, True)
    commit(there, "third")
    assert (await jelmore(api, own, "pull", "@", "work"))[0] == 0
    git(own, "checkout", "--quiet", "work")
    mine = commit(own, "mine", changed="mine\n")
    git(own, "checkout", "--quiet", "trunk")
    commit(there, "fourth", changed="theirs\n")
    code, _, error = await jelmore(api, own, "pull", "@", "work")
    assert (code, "git branch -D work" in error) == (1, True)
    assert git(own, "rev-parse", "work") == mine
    code, _, error = await jelmore(api, own.parent, "pull", "@")
    assert (code, "not in the work tree of a git repository" in error) == (1, True)
    code, _, error = await jelmore(api, own, "pull", "@", "a..b")
    assert (code, "cannot be the name of a branch" in error) == (1, True)


async def test_a_repository_that_is_refused_leaves_no_live_session(api: World, own: Path) -> None:
    (own / "back\\slash").write_text("x")
    code, _, error = await jelmore(api, own, "run", "--repo", ".", "mend it")
    assert (code, "slash" in error, " is ended, because" in error) == (1, True, True)
    async with connect(api) as client:
        assert [each.ended async for each in client.sessions.list()] == [True]
    code, _, error = await jelmore(api, own.parent, "run", "--repo", ".", "mend it")
    assert (code, "not in the work tree" in error) == (1, True)
    code, _, error = await jelmore(api, own, "run", "--repo", ".", "--depth", "1", "mend it")
    assert (code, "--depth: only with an https:// URL" in error) == (2, True)


async def test_without_a_start_the_command_says_what_to_name(api: World, own: Path) -> None:
    await created(api, own)
    code, _, error = await jelmore(api, own, "diff", "@", "--against", "start")
    assert (code, "--against COMMIT" in error) == (1, True)
    code, _, error = await jelmore(api, own, "push", "@")
    assert (code, "--url" in error) == (2, True), error


async def test_the_server_fetches_a_url_and_a_clone_pulls(
    made: World,
    host: GitServer,
    origin: Path,
    tmp_path: Path,
) -> None:
    url = f"{host.url}/private/project.git"
    session_id = await created(made, tmp_path, "--repo", url, "--ref", "old", "--depth", "1", "--credential", "bot")
    there = made.folders.folder(session_id)
    assert (there / "code").read_text() == "1\n"
    git(tmp_path, "clone", "--quiet", str(origin / "private" / "project.git"), "clone")
    theirs = commit(there, "mended", code="mended\n")
    _, patch, _ = await jelmore(made, tmp_path, "diff", "@", "--against", "start")
    assert "+mended" in patch
    code, branch, error = await jelmore(made, tmp_path / "clone", "pull", "@")
    assert code == 0, error
    assert git(tmp_path / "clone", "rev-parse", branch.strip()) == theirs
    code, _, error = await jelmore(made, tmp_path, "run", "--repo", f"{host.url}/open/absent.git")
    assert (code, "repository_failed" in error) == (1, True)


async def test_the_server_pushes_a_branch(made: World, host: GitServer, origin: Path, tmp_path: Path) -> None:
    url = f"{host.url}/private/project.git"
    session_id = await created(made, tmp_path, "--repo", url, "--credential", "bot")
    theirs = commit(made.folders.folder(session_id), "mended", code="mended\n")
    code, branch, error = await jelmore(made, tmp_path, "push", "@", "--credential", "bot")
    assert (code, branch) == (0, f"jelmore/{session_id[-8:]}\n"), error
    assert git(origin / "private" / "project.git", "rev-parse", branch.strip()) == theirs
    code, shown, _ = await jelmore(made, tmp_path, "push", "@", "jelmore/other", "--credential", "bot", "--json")
    assert (code, json.loads(shown)["commit"], json.loads(shown)["pushed"]) == (0, theirs, True)
    code, _, error = await jelmore(made, tmp_path, "push", "@", "trunk", "--credential", "bot")
    assert (code, "branch" in error) == (1, True)


# --- the client


@pytest.mark.parametrize("typed", [True, False])
async def test_a_create_takes_a_repository_and_work_is_compared_and_taken_away(
    made: World,
    host: GitServer,
    origin: Path,
    tmp_path: Path,
    *,
    typed: bool,
) -> None:
    fields: dict[str, Any] = {"url": f"{host.url}/private/project.git", "ref": "trunk", "credential": "bot"}
    async with AsyncJelmore("http://test", api_key=made.keys[Role.ADMIN], socket_path=made.socket_path) as client:
        session = await client.sessions.create(repository=Repository(**fields) if typed else fields)
        started = session.info.repository
        assert started is not None
        assert (started.branch, started.commit) == ("trunk", git(tmp_path / "own", "rev-parse", "trunk"))
        assert (await session.diff()).changed == 0
        await session.files.write("code", "4\n")
        ann = {"name": "Ann", "email": "ann@example.org"}
        done = await session.commit("fourth", author=ann)
        assert (done.created, (await session.commit("again")).created) == (True, False)
        found = await session.diff(against="start")
        assert (found.base, found.head, found.changed) == (started.commit, done.commit, 1)
        assert [(each.path, each.status, each.additions) for each in found.files] == [("code", "modified", 1)]
        assert b"+4\n" in await session.patch(against=started.commit)
        assert await session.patch() == b""
        bundle = tmp_path / "work.bundle"
        assert await session.bundle(bundle, against="start") == bundle.stat().st_size
        git(tmp_path / "own", "fetch", "--quiet", str(bundle), "HEAD:work")
        assert git(tmp_path / "own", "log", "-1", "--format=%an %s", "work") == "Ann fourth"
        with pytest.raises(ConflictError):
            await session.bundle(tmp_path / "none", against="HEAD")
        assert not (tmp_path / "none").exists()
        with pytest.raises(NotFoundError):
            await session.diff(against="absent")
        with pytest.raises(InvalidRequestError) as refused:
            await client.sessions.create(repository={"url": f"{host.url}/open/absent.git"})
        assert refused.value.code == "repository_failed"
        with pytest.raises(ConflictError):
            await (await client.sessions.create()).diff(against="start")
