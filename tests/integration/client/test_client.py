"""The Python client against the API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from jelmore.ports import Role
from jelmore_client import (
    Answer,
    ApiError,
    AsyncJelmore,
    ConflictError,
    InvalidRequestError,
    Jelmore,
    NeedsAnswerError,
    NotFoundError,
    Pending,
    UnauthenticatedError,
)
from jelmore_protocol.events import AgentState, EventKind, WaitingFor
from jelmore_protocol.events import Pending as ProtocolPending
from tests.integration.api.world import World, world
from tests.support.waiting import until

pytestmark = pytest.mark.integration

PERMISSION = ProtocolPending(
    request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="Bash: ls", input={"command": "ls"}
)


@pytest.fixture
async def api() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def connect(api: World) -> AsyncJelmore:
    return AsyncJelmore("http://test", api_key=api.keys[Role.ADMIN], socket_path=api.socket_path)


async def end_turn(api: World, session_id: str, input_id: str, text: str) -> None:
    runner = await api.runner(session_id)
    ended = {"input_id": input_id, "outcome": "completed", "text": text, "usage": {"output_tokens": 3}, "cost_usd": 0.5}
    await runner.say(EventKind.TURN_ENDED, ended)
    await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)


async def next_input(api: World, session_id: str, count: int = 1) -> str:
    runner = await api.runner(session_id)
    await until(lambda: len(runner.inputs) >= count)
    return list(runner.inputs)[count - 1]


async def test_ask_returns_the_result_of_its_own_turn(api: World) -> None:
    async with connect(api) as jelmore, await jelmore.sessions.create(title="mine") as session:
        asked = asyncio.create_task(session.ask("say hello"), name="asked")
        await end_turn(api, session.id, "another", "not this one")
        await end_turn(api, session.id, await next_input(api, session.id), "hello")
        result = await asked
        assert (result.text, result.ok, result.cost_usd, result.usage) == ("hello", True, 0.5, {"output_tokens": 3})
        await jelmore.sessions.create(title="second")
        assert [each.title async for each in jelmore.sessions.list(limit=1)] == ["second", "mine"]
    assert session.info.ended


async def test_permissions_are_answered_by_the_callback(api: World) -> None:
    seen: list[Pending] = []

    async def allow(pending: Pending) -> Answer:
        seen.append(pending)
        return Answer.allow()

    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        asked = asyncio.create_task(session.ask("list", on_request=allow), name="asked")
        input_id = await next_input(api, session.id)
        runner = await api.runner(session.id)
        await runner.ask(PERMISSION)
        await until(lambda: not runner.pending)
        await end_turn(api, session.id, input_id, "listed")
        assert (await asked).text == "listed"
        assert [each.title for each in seen] == ["Bash: ls"]
        with pytest.raises(ConflictError):
            await session.answer("r1", Answer.deny("too late"))


async def test_a_turn_that_waits_for_nobody_says_for_what(api: World) -> None:
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        asked = asyncio.create_task(session.ask("list"), name="asked")
        await next_input(api, session.id)
        await (await api.runner(session.id)).ask(PERMISSION)
        with pytest.raises(NeedsAnswerError, match="r1"):
            await asked


async def test_a_prompt_behind_a_turn_that_waits_says_for_what(api: World) -> None:
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        await session.send("list")
        await next_input(api, session.id)
        await (await api.runner(session.id)).ask(PERMISSION)
        with pytest.raises(NeedsAnswerError, match="r1"):
            await session.ask("the next one", timeout_s=20)


async def test_a_broken_connection_loses_and_doubles_nothing(api: World) -> None:
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        runner = await api.runner(session.id)
        seqs: list[int] = []
        async with asyncio.timeout(30):
            for number in range(5):
                await runner.say(EventKind.ERROR, {"code": "noted", "message": str(number)})
            async for event in session.events(after=0):
                seqs.append(event.seq)
                if len(seqs) in {2, 4}:
                    for connection in api.open_requests():
                        connection.transport.abort()
                    await runner.say(EventKind.ERROR, {"code": "noted", "message": "later"})
                if len(seqs) == 7:
                    break
    assert seqs == list(range(1, 8))


async def test_a_deadline_leaves_the_turn_running(api: World) -> None:
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        with pytest.raises(TimeoutError):
            await session.ask("take your time", timeout_s=0.3)
        assert (await session.refresh()).status == "active"


async def test_a_prompt_that_somebody_removes_from_the_queue_has_failed(api: World) -> None:
    async with connect(api) as jelmore, asyncio.timeout(20):
        session = await jelmore.sessions.create()
        runner = await api.runner(session.id)
        runner.holds = True
        asked = asyncio.create_task(session.ask("later"), name="asked")
        await until(lambda: bool(runner.waiting))
        (waiting,) = await session.queue()
        await session.cancel_queued(waiting.input_id)
        result = await asked
        assert (result.input_id, result.ok, result.failure) == (waiting.input_id, False, "cancelled")


async def test_what_is_saved_replaces_a_file_only_when_all_of_it_has_arrived(api: World, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.write_text("before")
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        for save in (session.bundle(target), session.transcript(target, form="nonsense")):  # type: ignore[arg-type]
            with pytest.raises(ApiError):
                await save
        assert target.read_text() == "before"
        assert await session.transcript(target) == target.stat().st_size
        assert [each.name for each in tmp_path.iterdir()] == ["kept"]


async def test_refusals_name_the_field(api: World) -> None:
    async with connect(api) as jelmore:
        with pytest.raises(InvalidRequestError) as refused:
            await jelmore.sessions.create(modle="x")
        assert [name for name, _ in refused.value.problem.fields] == ["modle"]
        with pytest.raises(NotFoundError):
            await jelmore.sessions.get("0")
    async with AsyncJelmore("http://test", api_key="wrong", socket_path=api.socket_path) as stranger:
        with pytest.raises(UnauthenticatedError):
            await stranger.sessions.create()


async def test_the_synchronous_client_does_the_same(api: World) -> None:
    def talk() -> tuple[str, list[str]]:
        key = api.keys[Role.ADMIN]
        with Jelmore("http://test", api_key=key, socket_path=api.socket_path) as jelmore:
            with jelmore.sessions.create() as session:
                ids.append(session.id)
                text = session.ask("say hello", timeout_s=20).text
            return text, [event.kind for event in session.events(after=0)]

    ids: list[str] = []
    talking = asyncio.create_task(asyncio.to_thread(talk), name="talking")
    await until(lambda: bool(ids))
    await end_turn(api, ids[0], await next_input(api, ids[0]), "hello")
    text, kinds = await talking
    assert text == "hello"
    assert "turn_ended" in kinds


async def test_files_go_in_and_out(api: World, tmp_path: Path) -> None:
    async with connect(api) as jelmore:
        session = await jelmore.sessions.create()
        await session.files.write("src/main.py", "print(1)\n")
        assert await session.files.read("src/main.py") == b"print(1)\n"
        large = tmp_path / "large"
        large.write_bytes(b"x" * 3_000_000)
        await session.files.upload(large, "data/large file")
        assert await session.files.download("data/large file", tmp_path / "back") == 3_000_000
        assert [(each.name, each.type) async for each in session.files.list()] == [
            ("data", "directory"),
            ("src", "directory"),
        ]
        packed = tmp_path / "packed.tar.gz"
        await session.files.download("src", packed, archive="tar.gz")
        await session.files.upload(packed, "copy", extract="tar.gz")
        await session.files.upload(packed, "", extract="tar.gz")
        names = [each.name async for each in session.files.list("copy")]
        assert names
        with pytest.raises(NotFoundError):
            await session.files.download("src/absent", tmp_path / "back")
        assert (tmp_path / "back").stat().st_size == 3_000_000, "a failure leaves the file that was there"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["back", "large", "packed.tar.gz"]
        await session.files.delete("copy", recursive=True)
        with pytest.raises(NotFoundError):
            await session.files.read("copy")


async def test_a_connection_that_waits_is_answered_for_the_session(api: World) -> None:
    api.tasks.keep("egress-approvals", api.approvals.run)
    async with connect(api) as jelmore, await jelmore.sessions.create() as session:
        runner = await api.runner(session.id)
        await until(lambda: runner.init is not None)
        request_id = api.gateway.hold(session.id)

        async def waits() -> bool:
            return [each.request_id for each in await session.pending()] == [request_id]

        await until(waits)
        (pending,) = await session.pending()
        assert (pending.waiting_for, pending.input["host"]) == ("egress", "own.example")
        await session.answer(request_id, Answer.allow(always=True))
        assert await session.pending() == []
    assert (await api.store.load(UUID(session.id))).spec.network["approved"] == ["own.example:443"]
