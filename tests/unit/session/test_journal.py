"""How a journal is read from the volume of a session."""

import pytest

from jelmore.session.journal import JournalReader
from jelmore.session.output import Output
from tests.support.records import lines


def test_stored_lines_are_passed_over_by_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, line_of = [0], JournalReader._line

    def counted(reader: JournalReader) -> Output | None:
        looked_at[0] += 1
        return line_of(reader)

    monkeypatch.setattr(JournalReader, "_line", counted)
    whole = "".join(f"{output.text}\n" for output in lines(1, 5_000)).encode()
    piece = 64 * 1024
    reader = JournalReader(4_990)
    found = [output for at in range(0, len(whole), piece) for output in reader.feed(whole[at : at + piece])]
    assert found == lines(4_991, 5_000)
    assert looked_at[0] <= 2 * piece // len(lines(1, 1)[0].text), "only the lines of the last pieces"


def test_zero_is_no_number_so_it_hides_no_malformed_line() -> None:
    malformed = b'{"type":"event",""a":1}\n{"type":"event","seq":0,"kind":"said","data":{}}\n'
    first = f"{lines(1, 1)[0].text}\n".encode()
    in_pieces = JournalReader(0)
    assert [*in_pieces.feed(malformed), *in_pieces.feed(first)] == JournalReader(0).feed(malformed + first) == []
