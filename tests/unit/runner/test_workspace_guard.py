"""What happens to a session whose volume fills up, on real files."""

from pathlib import Path

import pytest

from jelmore_protocol.events import EventKind
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError
from jelmore_runner.workspace_guard import GuardCallbacks, Level, WorkspaceGuard, level_of
from tests.unit.runner.test_session import Listener, ask, events, opened

MIB = 2**20


@pytest.mark.parametrize(
    ("percent", "before", "after"),
    [
        (0, Level.ROOM, Level.ROOM),
        (79, Level.ROOM, Level.ROOM),
        (80, Level.ROOM, Level.NEARLY),
        (99, Level.NEARLY, Level.NEARLY),
        (100, Level.NEARLY, Level.FULL),
        (300, Level.ROOM, Level.OVERFULL),
        (119, Level.OVERFULL, Level.OVERFULL),
        (114, Level.OVERFULL, Level.FULL),
        (97, Level.FULL, Level.FULL),
        (94, Level.FULL, Level.NEARLY),
        (10, Level.OVERFULL, Level.ROOM),
    ],
)
def test_levels_rise_at_once_and_fall_with_a_margin(percent: int, before: Level, after: Level) -> None:
    assert level_of(percent, 100, before) is after
    assert level_of(percent, 0, before) is Level.ROOM


class Agent:
    """Counts what is done to it."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.ended = 0
        self.all_ended = 0
        self.deaf = False

    async def interrupt(self) -> None:
        self.interrupts += 1
        if self.deaf:
            raise RefusedError(ErrorCode.UNAVAILABLE, "it does not listen")

    def end_background(self) -> int:
        self.ended += 1
        return 2

    def end_all(self) -> int:
        self.all_ended += 1
        return 3


def guarded(session: Conversation, folder: Path, agent: Agent, limit_files: int = 0) -> WorkspaceGuard:
    folder.mkdir()
    callbacks = GuardCallbacks(agent.interrupt, agent.end_background, agent.end_all, list)
    return WorkspaceGuard(session, [folder], 10 * MIB, callbacks, limit_files)


async def error_messages(session: Conversation) -> list[str]:
    return [data["message"] for kind, data in await events(session) if kind == EventKind.ERROR]


async def test_a_full_workspace_interrupts_once_and_takes_inputs(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        agent, work = Agent(), tmp_path / "work"
        guard = guarded(session, work, agent)
        session.agent_started(Listener())
        await session.accept(ask("one"))
        (work / "a").write_bytes(b"x" * 9 * MIB)
        await guard.check()
        assert (guard.level, agent.interrupts) == (Level.NEARLY, 0)
        (work / "b").write_bytes(b"x" * MIB)
        for _ in range(3):
            await guard.check()
        assert (guard.level, agent.interrupts) == (Level.FULL, 1)
        [message] = await error_messages(session)
        assert "10 MiB of 10 MiB" in message
        await session.accept(ask("delete something"))
        (work / "a").unlink()
        await guard.check()
        assert guard.level is Level.ROOM
        (work / "a").write_bytes(b"x" * 10 * MIB)
        await guard.check()
        assert agent.interrupts == 2


async def test_far_above_the_limit_nothing_is_taken_until_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        agent, work = Agent(), tmp_path / "work"
        guard = guarded(session, work, agent)
        session.agent_started(Listener())
        (work / "a").write_bytes(b"x" * 13 * MIB)
        await guard.check()
        with pytest.raises(RefusedError) as refused:
            await session.accept(ask("one"))
        assert refused.value.code is ErrorCode.WORKSPACE_FULL
        assert "13 MiB of 10 MiB" in str(refused.value)
        (work / "a").unlink()
        await guard.check()
        await session.accept(ask("one"))


async def test_many_small_files_are_stopped_as_many_bytes_are(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        agent, work = Agent(), tmp_path / "work"
        guard = guarded(session, work, agent, limit_files=100)
        session.agent_started(Listener())
        await session.accept(ask("one"))
        for number in range(99):  # and the folder itself
            (work / str(number)).touch()
        await guard.check()
        assert (guard.level, agent.interrupts) == (Level.FULL, 1)
        for number in range(99, 130):
            (work / str(number)).touch()
        await guard.check()
        assert (guard.level, agent.ended) == (Level.OVERFULL, 1)
        assert any("holds 131 of 100 files" in message for message in await error_messages(session))
        with pytest.raises(RefusedError) as refused:
            await session.accept(ask("two"))
        assert refused.value.code is ErrorCode.WORKSPACE_FULL
        guard.set_limit(100 * MIB)
        assert guard.level is Level.OVERFULL, "more bytes make no room for files"
        for number in range(60):
            (work / str(number)).unlink()
        await guard.check()
        await session.accept(ask("three"))


async def test_a_higher_limit_opens_a_refusing_session_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        guard = guarded(session, tmp_path / "work", Agent())
        (tmp_path / "work" / "a").write_bytes(b"x" * 13 * MIB)
        await guard.check()
        assert session.refusal is not None
        guard.set_limit(100 * MIB)
        await session.accept(ask("one"))
        guard.set_limit(0)
        await guard.check()
        assert guard.level is Level.ROOM


async def test_what_keeps_growing_is_stopped_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        agent, work = Agent(), tmp_path / "work"
        guard = guarded(session, work, agent)
        session.agent_started(Listener())
        await session.accept(ask("one"))
        agent.deaf = True
        for mebibytes in (13, 14, 14):
            (work / "a").write_bytes(b"x" * mebibytes * MIB)
            await guard.check()
        assert agent.interrupts == 2
        assert sum("does not listen" in message for message in await error_messages(session)) == 2


async def test_a_background_process_that_fills_the_disk_is_ended_and_terminals_only_when_that_was_not_enough(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as session:
        agent, work = Agent(), tmp_path / "work"
        guard = guarded(session, work, agent)
        session.agent_started(Listener())
        (work / "a").write_bytes(b"x" * 13 * MIB)
        await guard.check()
        await guard.check()
        assert (agent.interrupts, agent.ended, agent.all_ended) == (0, 1, 0)
        for mebibytes in (14, 14, 15, 16):
            (work / "a").write_bytes(b"x" * mebibytes * MIB)
            await guard.check()
        assert (agent.interrupts, agent.ended, agent.all_ended) == (0, 3, 1)
