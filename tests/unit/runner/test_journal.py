import asyncio
import errno
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jelmore_protocol import MAX_INPUT_BYTES, MAX_LINE_BYTES
from jelmore_protocol.control import OutputLimits
from jelmore_protocol.events import Event, EventKind
from jelmore_runner.hub import Hub, Subscriber
from jelmore_runner.journal import Journal
from jelmore_runner.journal_file import JournalFile, SystemDisk, open_journal_file
from jelmore_runner.output_budget import BURST_EVENTS, EVENTS_PER_S, OutputBudget, Pace, budget_of

DEADLINE_S = 60  # with the coverage tool and other work on the machine


class FullDisk(SystemDisk):
    """A disk that can be full (some bytes still fit) or fail to sync."""

    def __init__(self) -> None:
        self.full = False
        self.sync_fails = False
        self.syncs = 0

    def write(self, descriptor: int, data: memoryview) -> int:
        if not self.full:
            return super().write(descriptor, data)
        if len(data) > 10:
            return super().write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.sync_fails:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)


def load(path: Path, disk: SystemDisk | None = None) -> tuple[JournalFile, list[Mapping[str, Any]]]:
    events: list[Mapping[str, Any]] = []
    return open_journal_file(path, events.append, disk), events


@asynccontextmanager
async def running(path: Path, disk: SystemDisk | None = None, after: int = 0) -> AsyncIterator[Journal]:
    file, _ = load(path, disk)
    hub = Hub()
    head = max(file.seqs[-1] if len(file.seqs) else 0, after)
    journal = Journal(file, head, lambda _: hub.wake(), retry_s=(0.01,))
    writer = asyncio.create_task(journal.run(), name="writer")
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield journal
    finally:
        writer.cancel()
        await asyncio.wait({writer})
        file.close()


async def trouble(journal: Journal) -> None:
    """Return once the disk has refused."""
    while journal.error is None:
        await asyncio.sleep(0)


def note(number: int) -> tuple[EventKind, dict[str, Any]]:
    return EventKind.ERROR, {"code": "x", "message": f"number {number} ü\n"}


async def everything(journal: Journal, after: int = 0) -> list[int]:
    subscriber = Subscriber(journal, after)
    seqs: list[int] = []
    while not subscriber.caught_up:
        seqs += [json.loads(text)["seq"] for text in await subscriber.next()]
    return seqs


async def test_events_are_numbered_from_one_and_are_the_wire_shape(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        assert journal.put(note(1), note(2)) == [1, 2]
        await journal.durable(2)
    lines = (tmp_path / "j").read_text().splitlines()
    events = [Event.model_validate_json(line) for line in lines]
    assert [event.seq for event in events] == [1, 2]
    assert events[0].data == {"code": "x", "message": "number 1 ü\n"}


async def test_many_events_share_a_sync(tmp_path: Path) -> None:
    disk = FullDisk()
    async with running(tmp_path / "j", disk) as journal:
        for number in range(1000):
            journal.put(note(number))
        await journal.durable(1000)
        assert disk.syncs < 20
        assert await everything(journal) == list(range(1, 1001))


async def test_nothing_is_visible_before_it_is_durable_and_a_full_disk_recovers(tmp_path: Path) -> None:
    disk = FullDisk()
    async with running(tmp_path / "j", disk) as journal:
        journal.put(note(1))
        await journal.durable(1)
        disk.full = True
        journal.put(note(2), note(3))
        await trouble(journal)
        assert "No space left" in str(journal.error)
        assert journal.head == 1
        assert await journal.read(1) == []
        disk.full = False
        await journal.durable(3)
        assert journal.error is None
        assert await everything(journal) == [1, 2, 3]
    assert [event["seq"] for event in load(tmp_path / "j")[1]] == [1, 2, 3]


async def test_a_failed_sync_is_written_again_not_only_synced_again(tmp_path: Path) -> None:
    disk = FullDisk()
    async with running(tmp_path / "j", disk) as journal:
        disk.sync_fails = True
        journal.put(note(1))
        await trouble(journal)
        assert (tmp_path / "j").read_bytes() == b""
        disk.sync_fails = False
        await journal.durable(1)
    assert [event["seq"] for event in load(tmp_path / "j")[1]] == [1]


async def test_producers_wait_while_the_disk_is_behind(tmp_path: Path) -> None:
    disk = FullDisk()
    disk.full = True
    async with running(tmp_path / "j", disk) as journal:
        while journal.has_room:
            journal.put(note(1))
        waiting = asyncio.create_task(journal.room(), name="producer")
        await asyncio.sleep(0)
        assert not waiting.done()
        disk.full = False
        await waiting


@pytest.mark.parametrize(
    "tail",
    [
        b'{"type":"event","seq":3,"ki',
        b"\x00" * 300,
        b"garbage\n",
        b'{"seq":2,"kind":"error","data":{}}\n',
        b"[]\n",
        b"[" * 100_000 + b"\n",
    ],
    ids=["torn", "zeros", "garbage", "repeated seq", "no object", "bottomless"],
)
async def test_a_spoiled_tail_is_cut_off_and_counted(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "j"
    async with running(path) as journal:
        journal.put(note(1), note(2))
        await journal.durable(2)
    good = path.read_bytes()
    path.write_bytes(good + tail)
    file, events = load(path)
    assert file.dropped_bytes == len(tail)
    assert [event["seq"] for event in events] == [1, 2]
    assert path.read_bytes() == good
    file.close()
    async with running(path) as journal:
        assert journal.put(note(3)) == [3]
        await journal.durable(3)
        assert await everything(journal) == [1, 2, 3]


async def test_a_deeply_nested_event_is_read_again_and_what_follows_it_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        deep: Any = "end"
        for _ in range(250):
            deep = [deep]
        journal.put((EventKind.MESSAGE, {"message": deep}), note(2))
        await journal.durable(2)
        for _, text in await journal.read(0):
            Event.model_validate_json(text)
    file, events = load(tmp_path / "j")
    assert [event["seq"] for event in events] == [1, 2]
    assert file.dropped_bytes == 0
    file.close()


async def test_a_line_that_an_older_runner_nested_too_deeply_is_no_spoiled_tail(tmp_path: Path) -> None:
    deep = "[" * 300 + "]" * 300
    line = f'{{"type":"event","seq":1,"kind":"message","at":"2026-01-01T00:00:00.000Z","data":{{"message":{deep}}}}}\n'
    (tmp_path / "j").write_text(line)
    file, events = load(tmp_path / "j")
    assert ([event["seq"] for event in events], file.dropped_bytes) == ([1], 0)
    file.close()


async def test_numbering_never_falls_below_what_a_store_knows(tmp_path: Path) -> None:
    async with running(tmp_path / "j", after=50) as journal:
        assert journal.resume_position(50) == ("ok", 50)
        assert journal.resume_position(10) == ("gap", 10)
        assert journal.put(note(1)) == [51]
        await journal.durable(51)
        assert journal.resume_position(50) == ("ok", 50)
        assert await everything(journal, 50) == [51]


async def test_gap_verdicts(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        assert journal.resume_position(0) == ("ok", 0)
        assert journal.resume_position(1) == ("gap", 0)
        journal.put(note(1), note(2), note(3))
        await journal.durable(3)
        for after in range(4):
            assert journal.resume_position(after) == ("ok", after)
        assert journal.resume_position(4) == ("gap", 0)


async def test_a_hole_in_the_journal_is_a_gap_for_those_before_it(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        journal.put(note(1))
        await journal.durable(1)
    async with running(tmp_path / "j", after=9) as journal:
        journal.put(note(2))
        await journal.durable(10)
        assert journal.resume_position(0)[0] == "gap"
        assert journal.resume_position(1)[0] == "gap"
        assert journal.resume_position(9)[0] == "ok"
        assert await everything(journal) == [1, 10]


async def test_old_events_come_from_the_file_and_equal_the_lines(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        for number in range(5000):
            journal.put((EventKind.ERROR, {"code": "x", "message": "y" * (number % 300)}))
        await journal.durable(5000)
        subscriber = Subscriber(journal, 0)
        texts: list[str] = []
        while not subscriber.caught_up:
            texts += await subscriber.next()
        assert "\n".join(texts) + "\n" == (tmp_path / "j").read_text()


@pytest.mark.parametrize(
    "content",
    ["x" * 3_000_000, "ü\n" * 900_000, ["y" * 2_000] * 2_000, [[]] * 900_000, {f"{n:09}": n for n in range(200_000)}],
    ids=["text", "not ascii", "many texts", "many arrays", "many names"],
)
async def test_a_large_event_is_cut_and_says_so(tmp_path: Path, content: Any) -> None:
    message = {"type": "assistant", "message": {"role": "assistant", "content": content}}
    async with running(tmp_path / "j") as journal:
        journal.put((EventKind.MESSAGE, {"message": message, "input_id": "one"}))
        await journal.durable(1)
        [(_, text)] = await journal.read(0)
    data = json.loads(text)["data"]
    assert len(text.encode()) < MAX_LINE_BYTES + 500
    assert data["truncated"]["bytes"] > 1_800_000
    assert (data["input_id"], data["message"]["type"]) == ("one", "assistant")


async def test_an_input_is_never_cut(tmp_path: Path) -> None:
    text = "\x01" * MAX_INPUT_BYTES
    async with running(tmp_path / "j") as journal:
        journal.put((EventKind.INPUT, {"id": "i", "input": text, "by": ""}))
        await journal.durable(1)
    _, [event] = load(tmp_path / "j")
    assert event["data"]["input"] == text


async def test_deltas_stay_between_the_events_they_were_made_between(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        hub = Hub()
        subscriber = Subscriber(journal, 0)
        hub.add(subscriber)
        hub.delta(0, "before 1")
        journal.put(note(1))
        hub.delta(1, "after 1")
        assert await subscriber.next() == ["before 1"]
        await journal.durable(1)
        journal.put(note(2))
        hub.delta(2, "after 2")
        await journal.durable(2)
        texts = await subscriber.next()
        assert [text if text.startswith("after") else json.loads(text)["seq"] for text in texts] == [
            1,
            "after 1",
            2,
            "after 2",
        ]


async def test_a_reader_who_is_behind_loses_old_deltas_only(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        subscriber = Subscriber(journal, 0)
        for number in range(1000):
            subscriber.offer(0, str(number))
        texts = await subscriber.next()
        assert texts[-1] == "999"
        assert len(texts) == 256


async def test_the_journal_is_private(tmp_path: Path) -> None:
    async with running(tmp_path / "j"):
        assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


async def test_output_beyond_the_budget_keeps_its_place_and_outline(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        clock = [0.0]
        journal.now_s = lambda: clock[0]
        journal.budget = OutputBudget(total_bytes=1_000_000, bytes_per_s=10_000, burst_bytes=100_000)
        large = (EventKind.MESSAGE, {"message": {"type": "assistant", "text": "x" * 60_000}, "input_id": "i"})
        result = (EventKind.MESSAGE, {"message": {"type": "result", "result": "y" * 60_000}, "input_id": "i"})
        assert journal.put(large) == [1]
        assert journal.put(large) == [3], "2 is the warning"
        assert journal.put(large, result) == [4, 5]
        clock[0] += 10
        assert journal.put(large) == [6]
        assert journal.put(large) == [8], "limited again, and said again"
        await journal.durable(8)
        lines = [json.loads(text) for _, text in await journal.read(0)]
    assert [line["kind"] for line in lines if line["seq"] in {2, 7}] == ["error", "error"]
    assert lines[1]["data"]["code"] == "output_limited"
    assert [line["seq"] for line in lines if "truncated" in line["data"]] == [3, 4, 8]
    assert all(line["data"]["input_id"] == "i" for line in lines if line["kind"] == "message")
    assert len(json.dumps(lines[2])) < 4000
    assert lines[4]["data"]["message"]["result"] == "y" * 60_000, "what ends a turn is whole"


async def test_a_total_is_a_limit_too(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        journal.budget = OutputBudget(used_bytes=900_000, total_bytes=1_000_000)
        large = (EventKind.MESSAGE, {"message": {"type": "assistant", "text": "x" * 60_000}, "input_id": "i"})
        assert [journal.put(large), journal.put(large)] == [[1], [3]]
        assert journal.budget.used_bytes < 1_000_000


async def test_limits_that_change_count_from_the_next_event_on(tmp_path: Path) -> None:
    async with running(tmp_path / "j") as journal:
        clock = [0.0]
        journal.now_s = lambda: clock[0]
        journal.budget = OutputBudget(total_bytes=100_000, bytes_per_s=1_000, burst_bytes=100_000)
        large = (EventKind.MESSAGE, {"message": {"type": "assistant", "text": "x" * 60_000}, "input_id": "i"})
        assert [journal.put(large), journal.put(large)] == [[1], [3]], "2 is the warning"
        clock[0] += 10
        wanted = OutputLimits(total_bytes=1_000_000, bytes_per_s=50_000)
        journal.limit_output(wanted)
        assert journal.budget.limits == wanted
        assert journal.budget._spent == pytest.approx(50_000, abs=1000), "the time before counts at the former rate"
        assert journal.put(large) == [4], "whole again"
        journal.limit_output(OutputLimits(total_bytes=1000, bytes_per_s=50_000))
        assert journal.put(large) == [6], "a lower limit cuts, and says so"
        await journal.durable(6)
        lines = [json.loads(text) for _, text in await journal.read(0)]
    assert [line["seq"] for line in lines if "truncated" in line["data"]] == [3, 6]
    assert [line["seq"] for line in lines if line["kind"] == "error"] == [2, 5]


def test_the_limits_of_a_deployment_take_the_place_of_the_runners_own() -> None:
    chosen = budget_of(5, OutputLimits(total_bytes=1000, bytes_per_s=7))
    assert (chosen.used_bytes, chosen.total_bytes, chosen.bytes_per_s, chosen.burst_bytes) == (5, 1000, 7, 1000)
    assert budget_of(5, None) == OutputBudget(5)


def test_events_that_follow_each_other_too_fast_wait_and_a_burst_does_not() -> None:
    pace = Pace()
    assert pace.pause_s(500, 0.0) == 0, "what an earlier run journaled counts for nothing"
    assert pace.pause_s(500 + BURST_EVENTS, 0.0) == 0
    assert pace.pause_s(500 + BURST_EVENTS + 100, 0.0) == pytest.approx(100 / EVENTS_PER_S)
    assert pace.pause_s(500 + BURST_EVENTS + 100, 1.0) == 0
    assert pace.pause_s(500 + BURST_EVENTS + 100 + 2 * BURST_EVENTS, 3600.0) == pytest.approx(
        BURST_EVENTS / EVENTS_PER_S
    ), "an hour saves up no more than one burst"


async def test_who_prints_small_events_without_end_is_slowed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused_s = list[float]()
    async with running(tmp_path / "j") as journal:
        clock = [0.0]
        journal.now_s = lambda: clock[0]

        async def sleep(seconds: float) -> None:
            paused_s.append(seconds)
            clock[0] += seconds

        monkeypatch.setattr("jelmore_runner.journal.asyncio.sleep", sleep)
        for _ in range(BURST_EVENTS + 3000):
            await journal.room()
            journal.put((EventKind.SAID, {"text": "x"}))
        monkeypatch.undo()
    assert sum(paused_s) == pytest.approx(3000 / EVENTS_PER_S, rel=0.1)
