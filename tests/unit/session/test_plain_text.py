"""What PostgreSQL would refuse, and what becomes of it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jelmore.session.plain_text import clean_text, storable_json, storable_text, to_json

texts = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud800\udfff\\u0000"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@settings(deadline=None)
@given(values)
def test_any_value_becomes_json_that_can_be_stored(value: Any) -> None:
    stored = json.loads(to_json(value))
    assert storable_json(stored)
    assert to_json(stored) == to_json(json.loads(to_json(stored)))


@settings(deadline=None)
@given(values)
def test_what_can_be_stored_is_not_altered(value: Any) -> None:
    if storable_json(value):
        assert json.loads(to_json(value)) == value


@settings(deadline=None)
@given(texts)
def test_clean_text_can_be_stored_and_stays_as_long(text: str) -> None:
    cleaned = clean_text(text)
    assert storable_text(cleaned)
    assert len(cleaned) == len(text)
    cleaned.encode()


@pytest.mark.parametrize("value", ["😀", "\\u0000", {"a": "\\ud800"}, "\ufffd"])
def test_what_only_appears_invalid_is_kept(value: Any) -> None:
    assert storable_json(value)
    assert json.loads(to_json(value)) == value


def test_what_json_does_not_know_becomes_text() -> None:
    assert json.loads(to_json({"path": object, 1: (1, 2)})) == {"path": "<class 'object'>", "1": [1, 2]}
