from hypothesis import given
from hypothesis import strategies as st

from jelmore_runner.setup_output import PIECE_BYTES, SetupOutput


def taken(output: SetupOutput) -> str:
    parts = []
    while text := output.take():
        parts.append(text)
    return "".join(parts)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 60), st.integers(1, 60))
def test_beginning_and_end_are_kept_and_what_is_between_is_counted(
    pieces: list[bytes], head_bytes: int, tail_bytes: int
) -> None:
    output = SetupOutput(head_bytes, tail_bytes)
    ascii_pieces = [bytes(byte % 128 for byte in piece) for piece in pieces]
    for piece in ascii_pieces:
        output.add(piece)
    printed = b"".join(ascii_pieces).decode()
    head, rest = taken(output), output.rest()
    assert head == printed[:head_bytes]
    assert rest == printed[head_bytes:][-tail_bytes:]
    assert len(head) + output.omitted_bytes + len(rest) == len(printed)


@given(st.text(max_size=200), st.integers(1, 7))
def test_characters_that_arrive_in_pieces_stay_whole(text: str, size: int) -> None:
    output = SetupOutput()
    data, seen = text.encode("utf-8", "replace"), ""
    for start in range(0, len(data), size):
        output.add(data[start : start + size])
        seen += output.take()
    assert seen + output.rest() == data.decode()


def test_one_text_is_bounded() -> None:
    output = SetupOutput()
    output.add(b"x" * (3 * PIECE_BYTES))
    assert [len(output.take()) for _ in range(4)] == [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 0]


def test_output_that_is_no_text_becomes_text() -> None:
    output = SetupOutput(head_bytes=4, tail_bytes=4)
    output.add(b"\xff\xfe\x00\xc3" + b"middle" + b"\xa9end")
    assert "\ufffd" in taken(output)
    assert output.rest() == "\ufffd\ufffdend"
