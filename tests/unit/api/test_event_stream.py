"""Server-sent events: what is sent, and the three ways in which a stream ends."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Never
from uuid import UUID

import pytest
from starlette.types import Message

from jelmore.api.event_stream import EventStream
from jelmore.api.stream_limits import StreamLimits
from jelmore.control.stream_frames import StreamItem
from jelmore.session.errors import DependencyError, UnauthenticatedError
from jelmore_protocol.websocket_server import ServerLimits, TooManyError

HELLO = StreamItem("hello", None, '{"type":"hello","resume":"ok","seq":7}')
STATE = StreamItem("state", None, '{"type":"state","state":"active"}')
END = StreamItem("end", None, '{"type":"end","status":"terminated","reason":"deleted","exit_code":0}')


def event(seq: int) -> StreamItem:
    return StreamItem("event", seq, json.dumps({"type": "event", "seq": seq}))


class Source:
    """A live stream with a known fate: `items`, then an error, or silence until it is closed."""

    def __init__(self, *items: StreamItem, then: Exception | None = None, silent: bool = False) -> None:
        self.items = items
        self.then = then
        self.silent = silent
        self.pulled = 0
        self.closed = asyncio.Event()

    async def follow(self) -> AsyncIterator[StreamItem]:
        try:
            for item in self.items:
                self.pulled += 1
                yield item
            if self.then is not None:
                raise self.then
            if self.silent:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


class Reader:
    """The other end: takes what is sent, until it leaves or stops taking."""

    def __init__(self, *, takes: int = 1_000_000) -> None:
        self.sent: list[bytes] = []
        self.started: dict[str, Any] = {}
        self.left = asyncio.Event()
        self.got = asyncio.Event()
        self._takes = takes

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = dict(message)
            return
        if len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message["body"])
        self.got.set()

    @property
    def text(self) -> str:
        return b"".join(self.sent).decode()


async def barred_after(ending: asyncio.Event) -> Never:
    await ending.wait()
    raise UnauthenticatedError("the token has expired")


def stream(
    source: Source,
    after: int | None = None,
    *,
    send_timeout_s: float = 5,
    ping_every_s: float = 5,
    ending: asyncio.Event | None = None,
    counted: AbstractContextManager[object] | None = None,
) -> EventStream:
    return EventStream(
        source.follow(),
        after,
        barred_after(ending or asyncio.Event()),
        send_timeout_s=send_timeout_s,
        ping_every_s=ping_every_s,
        counted=counted or nullcontext(),
    )


async def run(answer: EventStream, reader: Reader) -> None:
    async with asyncio.timeout(5):
        await answer({"type": "http"}, reader.receive, reader.send)


async def test_a_stream_without_a_place_is_refused_and_closed() -> None:
    source, reader = Source(HELLO, STATE, END), Reader()
    limits = StreamLimits(ServerLimits())
    session_id = UUID(int=1)
    with ExitStack() as taken:
        places = (limits.counted(session_id, "reader", can_write=False) for _ in range(5000))
        with pytest.raises(TooManyError):
            deque(map(taken.enter_context, places), maxlen=0)
        refused = stream(source, counted=limits.counted(session_id, "reader", can_write=False))
        async with asyncio.timeout(5):
            scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
            await refused(scope, reader.receive, reader.send)
        assert '"code":"capacity"' in reader.text.replace(" ", "")
        with limits.counted(session_id, "owner", can_write=True):
            pass  # a place is kept for writers


async def test_frames_become_events_and_only_output_has_an_id() -> None:
    source, reader = Source(HELLO, STATE, event(8), StreamItem("delta", None, "{}"), END), Reader()
    await run(stream(source, after=3), reader)
    assert reader.text == (
        'event: hello\ndata: {"type":"hello","resume":"ok","seq":7}\nid: 3\nretry: 1000\n\n'
        f"event: state\ndata: {STATE.text}\n\n"
        'event: event\ndata: {"type": "event", "seq": 8}\nid: 8\n\n'
        "event: delta\ndata: {}\n\n"
        f"event: end\ndata: {END.text}\n\n"
    )
    assert reader.started["status"] == 200
    headers = dict(reader.started["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in headers
    assert source.closed.is_set()


@pytest.mark.parametrize(
    ("hello", "after", "position"),
    [
        ('{"resume":"ok","seq":7}', None, 7),
        ('{"resume":"ok","seq":7}', 2, 2),
        ('{"resume":"gap","seq":7}', 99, 0),
    ],
)
async def test_who_breaks_off_after_the_hello_comes_back_to_the_same_place(
    hello: str, after: int | None, position: int
) -> None:
    reader = Reader()
    await run(stream(Source(StreamItem("hello", None, hello)), after), reader)
    assert f"id: {position}\n" in reader.text


async def test_a_reader_who_leaves_ends_the_stream() -> None:
    source, reader = Source(HELLO, silent=True), Reader()
    serving = asyncio.create_task(run(stream(source), reader), name="serving")
    await asyncio.wait_for(reader.got.wait(), 5)
    assert not source.closed.is_set()
    reader.left.set()
    await serving
    assert source.closed.is_set()


async def test_a_reader_who_takes_nothing_is_cut_off_and_nothing_piles_up() -> None:
    source, reader = Source(*(event(seq) for seq in range(1, 1000)), silent=True), Reader(takes=2)
    await run(stream(source, send_timeout_s=0.05), reader)
    assert len(reader.sent) == 2
    assert source.pulled == 3
    assert source.closed.is_set()


async def test_silence_is_broken_by_pings_that_carry_nothing() -> None:
    source, reader = Source(HELLO, silent=True), Reader()
    serving = asyncio.create_task(run(stream(source, ping_every_s=0.01), reader), name="serving")
    async with asyncio.timeout(5):
        while reader.text.count(": ping\n\n") < 3:
            reader.got.clear()
            await reader.got.wait()
    reader.left.set()
    await serving


async def test_an_item_is_sent_as_soon_as_it_is_there() -> None:
    """Each pass of the event loop between the two is a wait behind all that a busy manager does in a pass."""
    there = asyncio.Event()
    passes = -1

    async def follow() -> AsyncIterator[StreamItem]:
        await there.wait()
        yield event(1)

    async def count() -> None:
        nonlocal passes
        while not reader.sent:
            passes += 1
            await asyncio.sleep(0)

    reader = Reader()
    answer = EventStream(
        follow(), 0, barred_after(asyncio.Event()), send_timeout_s=5, ping_every_s=5, counted=nullcontext()
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(run(answer, reader), name="stream")
        await asyncio.sleep(0.05)
        there.set()
        group.create_task(count(), name="passes")
    assert passes <= 1


async def test_a_part_that_goes_away_is_reported_and_the_stream_ends() -> None:
    source, reader = Source(HELLO, event(8), then=DependencyError("postgres", "secret host")), Reader()
    await run(stream(source), reader)
    last = reader.text.split("\n\n")[-2]
    assert last.startswith("event: error\n")
    assert json.loads(last.split("data: ")[1])["code"] == "dependency_away"
    assert "secret host" not in reader.text
    assert source.closed.is_set()


async def test_a_reader_whose_token_has_ended_is_reported_and_the_stream_ends() -> None:
    source, reader, ending = Source(HELLO, silent=True), Reader(), asyncio.Event()
    serving = asyncio.create_task(run(stream(source, ending=ending), reader), name="serving")
    await asyncio.wait_for(reader.got.wait(), 5)
    ending.set()
    await serving
    last = reader.text.split("\n\n")[-2]
    assert last.startswith("event: error\n")
    assert (json.loads(last.split("data: ")[1])["code"], source.closed.is_set()) == ("unauthenticated", True)
