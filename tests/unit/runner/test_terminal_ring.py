"""The kept output of a terminal, and who types into it."""

import random

from jelmore_protocol.terminal import Stream
from jelmore_runner.terminals.keyboard import Keyboard
from jelmore_runner.terminals.ring import MAX_SEGMENTS, SEGMENT_BYTES, OutputRing

OUT, ERR = Stream.STDOUT, Stream.STDERR


def whole(ring: OutputRing, cursor: int, piece: int = 1000) -> list[tuple[Stream, bytes]]:
    found = []
    while (part := ring.read(cursor, piece))[1]:
        found.append(part)
        cursor += len(part[1])
    return found


def test_any_order_of_writes_and_reads_gives_the_last_bytes_in_order() -> None:
    chance = random.Random(7)
    ring, written, tags = OutputRing(50_000), bytearray(), []
    for _ in range(600):
        stream = chance.choice([OUT, OUT, ERR])
        data = chance.randbytes(chance.choice([1, 80, 5000]))
        ring.add(stream, data)
        written += data
        tags += [stream] * len(data)
        assert ring.end == len(written)
        assert min(len(written), 50_000) <= ring.end - ring.start < 50_000 + SEGMENT_BYTES + 5000
        cursor = chance.randint(ring.start, ring.end)
        parts = whole(ring, cursor, chance.choice([7000, 64_000]))
        assert b"".join(data for _, data in parts) == written[cursor:]
    at = ring.start
    for stream, data in whole(ring, at):
        assert set(tags[at : at + len(data)]) == {stream}
        at += len(data)


def test_streams_that_alternate_with_every_byte_cost_a_bounded_number_of_segments() -> None:
    ring = OutputRing(1_000_000)
    for _ in range(MAX_SEGMENTS * 2):
        ring.add(OUT, b"o")
        ring.add(ERR, b"e")
    assert ring.end - ring.start == MAX_SEGMENTS


def test_a_reader_continues_where_it_was() -> None:
    ring = OutputRing(10)
    assert ring.resumes(None) == (0, False)
    assert ring.resumes(3) == (0, True), "a position that was never reached"
    ring.add(OUT, b"abc\ndef")
    assert (ring.resumes(None), ring.resumes(2), ring.resumes(7)) == ((0, False), (2, False), (7, False))


def test_a_reader_that_comes_too_late_begins_with_a_line() -> None:
    ring = OutputRing(20)
    for number in range(10):
        ring.add(OUT, b"\x1b[3" + b"x" * SEGMENT_BYTES + b"m\nline %d\n" % number)
    start, gap = ring.resumes(0)
    assert gap
    assert whole(ring, start)[0][1].startswith(b"line") or start == ring.start
    assert ring.resumes(ring.end) == (ring.end, False)


def test_the_first_who_may_types_and_a_second_takes_over() -> None:
    keyboard: Keyboard[str] = Keyboard()

    def writer() -> str | None:
        return keyboard.writer

    keyboard.join("reader", wants=False, take=False)
    assert writer() is None
    keyboard.join("ann", wants=True, take=False)
    keyboard.join("bob", wants=True, take=False)
    assert (writer(), keyboard.watchers) == ("ann", 2)
    before = keyboard.version
    keyboard.take("bob")
    assert (writer(), keyboard.version) == ("bob", before + 1)
    keyboard.take("bob")
    assert keyboard.version == before + 1, "nothing has changed"
    keyboard.leave("bob")
    assert (writer(), keyboard.watchers) == (None, 2), "nobody is promoted"
    keyboard.leave("bob")
    keyboard.join("cyd", wants=True, take=False)
    assert writer() == "cyd"
    keyboard.join("dan", wants=True, take=True)
    assert writer() == "dan"
    keyboard.join("watcher", wants=False, take=True)
    assert writer() == "dan", "who only watches takes nothing"
