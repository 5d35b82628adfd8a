"""Sessions from others with the Python client and the `jelmore` command."""

import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest

from jelmore_client import AsyncJelmore, ConflictError, InvalidRequestError
from jelmore_protocol.events import EventKind
from jelmore_protocol.transcripts import prompt_uuid
from tests.contract.transcripts_contract import entry
from tests.integration.api.conftest import api  # noqa: F401 - a fixture
from tests.integration.api.world import World
from tests.integration.client.test_client import connect, end_turn, next_input
from tests.integration.client.test_repositories import jelmore

# ruff: noqa: F811 - a fixture of another file is a parameter here

pytestmark = pytest.mark.integration


async def with_a_turn(api: World, client: AsyncJelmore) -> tuple[str, int]:
    """Return a session with a file and a turn, and the output at which the turn ended."""
    session = await client.sessions.create(title="work")
    runner = await api.runner(session.id)
    await runner.say(EventKind.INPUT, {"id": "one", "input": "one", "by": "alice"})
    await runner.say(EventKind.TURN_ENDED, {"input_id": "one", "outcome": "completed"})
    seq = runner.seq
    await api.transcripts.add(UUID(session.id), [entry(1, uuid=prompt_uuid("one")), entry(2)])
    (api.folders.folder(session.id) / "kept.txt").write_text("here")
    await api.stored(session.id, seq)
    return session.id, seq


async def test_a_fork_has_files_and_conversation_and_is_made_once(api: World) -> None:
    async with connect(api) as client:
        session_id, seq = await with_a_turn(api, client)
        session = await client.sessions.get(session_id)
        fork = await session.fork(at_seq=seq, metadata={"try": 2}, idempotency_key="once")
        assert (fork.info.title, fork.info.metadata) == ("Fork of work", {"try": 2})
        assert fork.info.forked_from == {"session_id": session_id, "seq": seq, "workspace": "present"}
        assert await fork.files.read("kept.txt") == b"here"
        again = await session.fork(at_seq=seq, metadata={"try": 2}, idempotency_key="once")
        assert again.id == fork.id
        with pytest.raises(InvalidRequestError, match="at_seq"):
            await session.fork(at_seq=10**6)


async def test_a_create_with_a_base_has_the_files_only(api: World) -> None:
    async with connect(api) as client:
        session_id, _ = await with_a_turn(api, client)
        made = await client.sessions.create(base=session_id, title="second")
        assert (made.info.base, made.info.forked_from, made.info.title) == (session_id, None, "second")
        assert await made.files.read("kept.txt") == b"here"
        with pytest.raises(InvalidRequestError, match="base"):
            await client.sessions.create(base="01900000-0000-7000-8000-000000000000")


async def test_the_command_forks_asks_and_prints_the_answer(api: World, tmp_path: Path) -> None:
    async with connect(api) as client:
        session_id, seq = await with_a_turn(api, client)
        running = asyncio.create_task(jelmore(api, tmp_path, "fork", session_id[-8:], "another way"), name="running")
        fork_id = ""
        async with asyncio.timeout(60):
            while not fork_id:
                ids = [each.id async for each in client.sessions.list()]
                fork_id = next((each for each in ids if each != session_id), "")
                await asyncio.sleep(0.05)
        await end_turn(api, fork_id, await next_input(api, fork_id), "done")
        code, out, error = await running
        assert (code, out) == (0, "done\n"), error
        assert f"jelmore attach {fork_id[-8:]}" in error

        code, out, error = await jelmore(api, tmp_path, "fork", session_id, "--at-seq", str(seq), "-d", "--json")
        assert code == 0, error
        assert json.loads(out)["forked_from"] == {"session_id": session_id, "seq": seq, "workspace": "present"}


async def test_the_command_copies_files_only_and_names_what_does_not_fit_together(api: World, tmp_path: Path) -> None:
    async with connect(api) as client:
        session_id, _ = await with_a_turn(api, client)
        code, out, error = await jelmore(api, tmp_path, "fork", session_id, "--files-only")
        assert code == 0, error
        made = await client.sessions.get(out.strip())
        assert (made.info.base, made.info.title) == (session_id, "Fork of work")
        code, _, error = await jelmore(api, tmp_path, "fork", session_id, "--files-only", "--at-seq", "1")
        assert (code, "--at-seq" in error) == (2, True)
        code, _, error = await jelmore(api, tmp_path, "fork", session_id, "--at-seq", "1000000")
        assert (code, "at_seq" in error) == (1, True)


async def test_a_fork_of_what_is_gone_is_a_conflict(api: World) -> None:
    async with connect(api) as client:
        session_id, _ = await with_a_turn(api, client)
        session = await client.sessions.get(session_id)
        await session.end()
        folder = api.folders.folder(session_id)
        (folder / "kept.txt").unlink()
        folder.rmdir()
        with pytest.raises(ConflictError):
            await session.fork()


async def test_the_client_and_the_command_take_a_session_back(api: World, tmp_path: Path) -> None:
    async with connect(api) as client:
        session_id, _ = await with_a_turn(api, client)
        session = await client.sessions.get(session_id)
        [prompt] = [each.seq async for each in session.messages() if each.input_id == "one"]
        code, out, _ = await jelmore(api, tmp_path, "rewind", session_id[-8:])
        assert (code, out.split()) == (0, [str(prompt), "one"])
        recorded = await session.rewind(prompt, files=False)
        assert recorded > prompt
        code, out, error = await jelmore(api, tmp_path, "rewind", session_id[-8:], "--last", "--files-only", "--json")
        assert (code, json.loads(out)["to_seq"]) == (0, prompt), error
        assert f"before prompt {prompt}" in error
        with pytest.raises(InvalidRequestError, match="to_seq"):
            await session.rewind(recorded)
        with pytest.raises(ConflictError, match="no snapshot"):
            await session.diff(turn=prompt)
        code, _, error = await jelmore(api, tmp_path, "diff", session_id[-8:], "--turn", "one")
        assert (code, "no snapshot" in error) == (1, True)
