"""Every reader of foreign bytes, on altered examples: bounded, so that it runs with every change."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

_EDITS = st.lists(
    st.tuples(
        st.integers(0, 2000), st.integers(0, 8), st.binary(max_size=12) | st.sampled_from([b"\r\n", b"\0", b'"'])
    ),
    max_size=4,
)


def altered(example: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Return an example in which some bytes are replaced by others."""
    for place, count, instead in edits:
        at = place % (len(example) + 1)
        example = example[:at] + instead + example[at + count :]
    return example


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_bytes_break_a_reader(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    example = data.draw(st.sampled_from(target.examples))
    target.read(altered(example, data.draw(_EDITS)))
    target.read(data.draw(st.binary(max_size=100)))


@pytest.mark.parametrize("name", TARGETS)
def test_the_examples_are_read(name: str) -> None:
    for example in TARGETS[name].examples:
        TARGETS[name].read(example)
