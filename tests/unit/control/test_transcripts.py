"""The keeper of transcripts: what is stored before it is acknowledged, after failures, beyond its bound, and back."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from jelmore.control.tasks import Tasks
from jelmore.control.transcripts import TranscriptKeeper
from jelmore.ports import ControlAddress, RelayBreak
from jelmore.session.errors import DependencyError, RefusedError
from jelmore_protocol.transcripts import StoredTranscript, TranscriptLine, TranscriptPart, WantedTranscript
from tests.contract.transcripts_contract import entry
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_transcripts import MemoryTranscripts
from tests.support.records import created

type Item = Sequence[TranscriptLine] | WantedTranscript | Exception


class Channels:
    """`TranscriptChannels` and its channels: gives what a test has queued, and notes what it is answered."""

    def __init__(self, *runs: list[Item]) -> None:
        self.runs = list(runs)
        self.opened_after: list[int] = []
        self.acknowledged: list[int] = []
        self.refused: list[str] = []
        self.restored: list[list[TranscriptPart]] = []

    @asynccontextmanager
    async def opened(self, at: ControlAddress, after: int) -> AsyncIterator["Channels"]:
        self.opened_after.append(after)
        if not self.runs:
            raise RefusedError("runner", "it is of an earlier image")
        yield self
        self.runs.pop(0)

    async def next(self) -> Sequence[TranscriptLine] | WantedTranscript | None:
        if not self.runs[0]:
            return None
        item = self.runs[0].pop(0)
        if isinstance(item, Exception):
            self.runs.pop(0)
            raise item
        return item

    async def stored(self, seq: int) -> None:
        self.acknowledged.append(seq)

    async def refuse(self, reason: str) -> None:
        self.refused.append(reason)

    async def restore(self, at: ControlAddress, parts: AsyncIterable[bytes]) -> None:
        self.restored.append([TranscriptPart.model_validate_json(line) async for line in parts])


class Place:
    def __init__(self, *runs: list[Item], most_bytes: int = 1000) -> None:
        self.tasks = Tasks()
        self.store = MemoryStore()
        self.transcripts = MemoryTranscripts(self.store)
        self.channels = Channels(*runs)
        self.keeper = TranscriptKeeper(self.transcripts, self.channels, self.tasks, most_bytes=most_bytes)

    async def followed(self) -> UUID:
        """Follow a new session to the end of its run; return its id."""
        session = await created(self.store)
        await self.keeper.start(session, ControlAddress("unix:/fake", session.id, 1))
        await self.keeper.settle(session.id)
        return session.id


async def test_lines_are_stored_before_they_are_acknowledged_and_the_end_is_waited_for() -> None:
    place = Place([[entry(1), entry(2)], [entry(3)]])
    session_id = await place.followed()
    assert place.channels.acknowledged == [2, 3]
    assert list(place.transcripts.lines[session_id]) == [1, 2, 3]
    assert await place.keeper.stored(session_id) == StoredTranscript(seq=3, conversation_id="c", messages=3)
    assert place.tasks.running() == []


async def test_after_a_failure_it_goes_on_from_what_is_stored() -> None:
    place = Place([[entry(1)], RelayBreak("cut")], [DependencyError("postgres", "away")], [[entry(2)]])
    session_id = await place.followed()
    assert place.channels.opened_after == [0, 1, 1]
    assert list(place.transcripts.lines[session_id]) == [1, 2]


async def test_a_released_session_is_not_connected_to_again() -> None:
    place = Place([RelayBreak("paused")], [[entry(1)]])
    session = await created(place.store)
    await place.keeper.start(session, ControlAddress("unix:/fake", session.id, 1))
    place.keeper.release(session.id)
    await place.keeper.settle(session.id)
    assert len(place.channels.opened_after) <= 1
    await place.keeper.start(session, ControlAddress("unix:/fake", session.id, 1))
    await place.keeper.settle(session.id)
    assert list(place.transcripts.lines[session.id]) == [1], "a new relay follows it again"


async def test_a_runner_of_an_earlier_image_is_left_alone() -> None:
    place = Place()
    await place.followed()
    assert (place.channels.opened_after, place.tasks.running()) == ([0], [])


async def test_beyond_its_bound_earlier_conversations_go_first_then_it_is_refused() -> None:
    text = "x" * 400
    place = Place([[entry(1, text)], [entry(2, text, "b")], [entry(3, text, "b")], [entry(4, text, "b")]])
    session_id = await place.followed()
    assert {part.conversation_id for part in place.transcripts.lines[session_id].values()} == {"b"}
    assert place.channels.acknowledged == [1, 2, 3]
    assert place.channels.refused == ["the transcript is larger than 1000 bytes"]


async def test_a_wanted_transcript_is_handed_back_whole() -> None:
    place = Place([[entry(number) for number in range(1, 451)], WantedTranscript(conversation_id="c")], most_bytes=9999)
    await place.followed()
    [parts] = place.channels.restored
    assert [part.uuid for part in parts] == [f"u{number}" for number in range(1, 451)]


async def test_a_run_that_does_not_end_is_waited_for_a_few_seconds_only() -> None:
    place = Place([[entry(1)]])

    async def never() -> None:
        await asyncio.Event().wait()

    place.channels.next = never  # type: ignore[method-assign]  # a runner that says nothing
    session = await created(place.store)
    await place.keeper.start(session, ControlAddress("unix:/fake", session.id, 1))
    began = asyncio.get_running_loop().time()
    await place.keeper.settle(session.id)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    await place.keeper.stop(session.id)
    assert place.tasks.running() == []
