"""The kept output of a terminal, and who types into it."""

import random

from jelmore_protocol.terminal import Stream
from jelmore_runner.terminals.keyboard import Keyboard
from jelmore_runner.terminals.ring import MAX_SEGMENTS, SEGMENT_BYTES, OutputRing
from jelmore_runner.terminals.screen_modes import ScreenModes

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


SETS = b"\x1b[?1049h\x1b[?1h\x1b=\x1b[?1000;1006h\x1b[?25l\x1b[?12;9999h"
RESTORED = b"\x1b[?1049h\x1b[?1h\x1b[?1000h\x1b[?1006h\x1b=\x1b[?25l"


def test_modes_outlive_the_output_that_set_them() -> None:
    ring = OutputRing(100)
    ring.add(OUT, SETS + b"x" * SEGMENT_BYTES)
    ring.add(OUT, b"y" * SEGMENT_BYTES)
    start, gap = ring.resumes(None)
    assert (gap, ring.modes_at(start)) == (True, RESTORED)
    ring.add(OUT, b"\x1b[?1000l\x1b>\x1b[?25h" + b"z" * SEGMENT_BYTES)
    ring.add(OUT, b"z" * SEGMENT_BYTES)
    assert ring.modes_at(ring.start) == b"\x1b[?1049h\x1b[?1h\x1b[?1006h"
    for reset in (b"\x1bc", b"\x1b[!p"):
        ring.add(OUT, SETS + reset + b"z" * SEGMENT_BYTES)
        ring.add(OUT, b"z" * SEGMENT_BYTES)
        assert ring.modes_at(ring.start) == b""


def test_what_is_skipped_up_to_the_first_line_counts_too() -> None:
    ring = OutputRing(10)
    ring.add(OUT, b"x" * SEGMENT_BYTES)
    ring.add(OUT, b"rest\x1b[?2004h of a line\nnext")
    start, _ = ring.resumes(None)
    assert (ring.read(start, 100)[1], ring.modes_at(start)) == (b"next", b"\x1b[?2004h")


def test_modes_do_not_depend_on_where_the_output_is_cut() -> None:
    for step in (1, 2, 3, 7):
        modes = ScreenModes()
        for at in range(0, len(SETS), step):
            modes.feed(SETS[at : at + step])
        assert modes.restore() == RESTORED
    modes.feed(b"\x1b[?" + b"1;" * 1_000_000)
    assert modes.restore() == RESTORED
