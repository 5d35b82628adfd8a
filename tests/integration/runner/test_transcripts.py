"""The transcript's way to the database and back, with a real Claude Code: what is sent, put back and sent again."""

import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from jelmore_protocol.transcripts import MAX_TRANSCRIPT_FRAME_BYTES
from tests.integration.runner.harness import Client, Runner, eventually

pytestmark = pytest.mark.integration


class Manager:
    """The manager's side: keeps what the runner sends, as the database would."""

    def __init__(self) -> None:
        self.lines: dict[int, dict[str, Any]] = {}

    async def follow(self, client: Client, until: Callable[[], bool]) -> None:
        while not until():
            await self.take(client, await client.next())

    async def take(self, client: Client, frame: dict[str, Any]) -> None:
        if frame["type"] == "transcript":
            part = frame["data"]
            if frame["kind"] == "reset":
                gone = [s for s, each in self.lines.items() if each["conversation_id"] == part["conversation_id"]]
                for seq in gone:
                    del self.lines[seq]
            else:
                self.lines[frame["seq"]] = part
            await client.send(type="stored", seq=frame["seq"])

    def messages(self, conversation_id: str) -> list[dict[str, Any]]:
        """The messages of the conversation: Claude Code keeps some other entries to itself."""
        entries = [
            (part["uuid"], json.loads(part["entry"]))
            for _, part in sorted(self.lines.items())
            if part["conversation_id"] == conversation_id and not part["subpath"]
        ]
        assert [uuid for uuid, _ in entries] == [entry.get("uuid") for _, entry in entries]
        return [entry for uuid, entry in entries if uuid]

    def stored(self, conversation_id: str) -> dict[str, Any]:
        count = len(self.messages(conversation_id))
        return {"seq": max(self.lines, default=0), "conversation_id": conversation_id, "messages": count}

    def body(self) -> bytes:
        return b"".join(json.dumps(part).encode() + b"\n" for _, part in sorted(self.lines.items()))


@asynccontextmanager
async def transcript_of(runner: Runner, after: int = 0) -> AsyncIterator[Client]:
    uri, path = f"ws://runner/transcript?after={after}", str(runner.folder / "c.sock")
    async with unix_connect(path, uri=uri, max_size=MAX_TRANSCRIPT_FRAME_BYTES, compression=None) as connection:
        client = Client(connection)
        assert (await client.next())["type"] == "hello"
        yield client


def on_volume(runner: Runner) -> Path:
    [path] = runner.folder.glob(f"session/home/.claude/projects/*/{runner.session_id}.jsonl")
    return path


def messages_of(path: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [entry for entry in entries if entry.get("uuid")]


async def one_turn(runner: Runner, name: str = "one") -> None:
    async with runner.open() as client:
        await client.send(type="input", id=name, input=f"demo> say {name}")
        await client.until_result(name)


async def mirrored(runner: Runner) -> Manager:
    """Run a turn, stop, and return a manager that has stored all of it."""
    manager = Manager()
    await runner.begin()
    await one_turn(runner)
    await runner.call("/stop", {"reason": "test over", "grace_s": 5, "final": False})
    async with transcript_of(runner) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await manager.follow(client, lambda: False)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000, "all is stored after the end"
    assert manager.messages(runner.session_id) == messages_of(on_volume(runner))
    assert runner.terminate() == 0
    return manager


async def test_every_entry_of_the_transcript_is_sent_once_and_then_forgotten(runner: Runner) -> None:
    manager = await mirrored(runner)
    assert manager.messages(runner.session_id) == messages_of(on_volume(runner))
    assert {entry["type"] for entry in manager.messages(runner.session_id)} >= {"user", "assistant"}
    assert (runner.folder / "session" / "state" / "transcript.jsonl").stat().st_size == 0
    stored = manager.stored(runner.session_id)
    await runner.begin(generation=2, resume=True, transcript=stored)
    async with transcript_of(runner, after=stored["seq"]) as client:
        await one_turn(runner, "two")
        await manager.follow(client, lambda: any("say two" in str(each) for each in manager.lines.values()))
    assert min(frame["seq"] for frame in client.frames if frame["type"] == "transcript") == stored["seq"] + 1
    sent = [frame["kind"] for frame in client.frames if frame["type"] == "transcript"]
    assert "reset" not in sent, "the database had all of it"


def lost_volume(runner: Runner) -> None:
    shutil.rmtree(runner.folder / "session")


def removed(runner: Runner) -> None:
    on_volume(runner).unlink()


def emptied(runner: Runner) -> None:
    on_volume(runner).write_text("")


def garbage(runner: Runner) -> None:
    on_volume(runner).write_text("no JSON\n" * 100)


def short_garbage(runner: Runner) -> None:
    on_volume(runner).write_text("no JSON\n")


@pytest.mark.parametrize("damage", [lost_volume, removed, emptied, garbage, short_garbage])
async def test_the_stored_transcript_is_put_back_and_resumed(runner: Runner, damage: Callable[[Runner], None]) -> None:
    manager = await mirrored(runner)
    stored = manager.stored(runner.session_id)
    damage(runner)
    runner.start()
    await runner.listening()
    await runner.call("/init", runner.init_body(2, resume=True, transcript=stored, after=1000))
    async with transcript_of(runner, after=stored["seq"]) as client:
        wanted = await client.until(lambda frame: frame["type"] == "wanted")
        assert wanted["conversation_id"] == runner.session_id
        answer = await runner.call("/transcript", manager.body())
        assert answer.status_code == 200, answer.text
        await runner.until_phase("ready")
    before = manager.messages(runner.session_id)
    assert messages_of(on_volume(runner))[: len(before)] == before
    async with runner.open() as reader:
        restored = await reader.until_event("conversation_restored")
        assert restored["data"]["messages"] == stored["messages"]
        await reader.send(type="input", id="two", input="demo> say two")
        result = await reader.until_result("two")
    assert result["session_id"] == runner.session_id, "it is the same conversation"
    assert not [event for event in reader.events if event["data"].get("code") == "conversation_lost"]
    after = messages_of(on_volume(runner))
    answered = next(each for each in after[len(before) :] if each["type"] == "user")
    assert answered["parentUuid"] in {each.get("uuid") for each in before}, "Claude Code continues what was stored"


async def test_without_a_manager_that_has_it_a_fresh_conversation_begins(runner: Runner) -> None:
    manager = await mirrored(runner)
    removed(runner)
    runner.start()
    await runner.listening()
    stored = manager.stored(runner.session_id)
    await runner.call("/init", runner.init_body(2, resume=True, transcript=stored))
    async with transcript_of(runner, after=stored["seq"]) as client:
        await client.until(lambda frame: frame["type"] == "wanted")
        assert (await runner.call("/transcript", b" ")).status_code == 200
    async with runner.open() as reader:
        await reader.until_event("error", code="transcript_not_restored")
        await reader.until_event("error", code="conversation_lost")


async def test_a_transcript_that_the_database_lacks_is_sent_again_from_the_volume(runner: Runner) -> None:
    manager = await mirrored(runner)
    kept = manager.stored(runner.session_id)
    behind = {**kept, "messages": kept["messages"] - 1}
    manager.lines.pop(
        max(seq for seq, part in manager.lines.items() if part["uuid"])
    )  # as after a runner that was killed before it had kept an entry
    await runner.begin(generation=2, resume=True, transcript=behind)
    async with transcript_of(runner, after=kept["seq"]) as client:
        await manager.follow(client, lambda: len(manager.messages(runner.session_id)) == kept["messages"])
    assert client.frames[1]["kind"] == "reset"
    assert manager.messages(runner.session_id) == messages_of(on_volume(runner))[: kept["messages"]]


async def test_what_was_not_sent_waits_on_the_volume(runner: Runner) -> None:
    await runner.begin()
    await one_turn(runner)
    runner.kill()
    await runner.begin(generation=2, resume=True)
    manager = Manager()
    async with transcript_of(runner) as client:
        wanted = len(messages_of(on_volume(runner)))
        await manager.follow(client, lambda: len(manager.messages(runner.session_id)) >= wanted)
    assert manager.messages(runner.session_id)[:wanted] == messages_of(on_volume(runner))[:wanted]


async def test_a_refusal_is_reported_once_and_the_session_continues(runner: Runner) -> None:
    await runner.begin()
    async with transcript_of(runner) as client:
        await client.send(type="refused", reason="more than 5 bytes")
        assert await client.until_closed() == 1000
    await one_turn(runner)
    await one_turn(runner, "two")

    def refusals() -> list[dict[str, Any]]:
        return [each for each in runner.events() if each["data"].get("code") == "transcript_not_stored"]

    await eventually(refusals, "the refusal is journaled")
    assert {"more than 5 bytes" in each["data"]["message"] for each in refusals()} == {True}
    assert len(refusals()) <= 2, "by the refusal itself and by the first entry after it"


async def test_a_transcript_that_nobody_asked_for_is_refused(runner: Runner) -> None:
    await runner.begin()
    assert (await runner.call("/transcript", b"{}\n")).status_code == 409
