"""Who has a session open, as plain values: counting, leaving, and what managers report to each other."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from jelmore.session.attendance import GRACE_S, MAX_SHOWN, LocalAttendance, Person, merged, received, report_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def person(name: str, after_s: float = 0) -> Person:
    return Person(f"key_{name}", name, "owner", START + timedelta(seconds=after_s))


def test_a_person_is_there_until_a_while_after_the_last_stream() -> None:
    local = LocalAttendance()
    assert local.enter(person("ann"))
    assert not local.enter(person("ann")), "a second tab is no second person"
    assert local.leave("key_ann", 10) is None
    assert local.leave("key_ann", 20) == 20 + GRACE_S
    assert not local.clear(20 + GRACE_S / 2)
    assert [each.name for each in local.people] == ["ann"]
    assert local.clear(20 + GRACE_S)
    assert (local.people, local.next_exit) == ([], None)


def test_a_reload_is_not_leaving() -> None:
    local = LocalAttendance()
    local.enter(person("ann"))
    local.leave("key_ann", 10)
    assert not local.enter(person("ann", 99))
    assert not local.clear(10 + GRACE_S)
    assert local.people == [person("ann")], "and she is there since she came"


def test_managers_receive_what_others_report() -> None:
    text = report_of([person("ann", 5), person("bob")], until=100)
    people, more = received([text], now=50)
    assert merged([person("ann", 9), *people], more).people == (person("bob"), person("ann", 5))
    assert received([text], now=100) == ([], 0), "what a manager that has died said runs out"
    assert report_of([], until=100) == ""


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '{"until": 9e9}', '{"until": 9e9, "people": [{}], "more": 0}', '{"until": "x", "people": []}'],
)
def test_what_has_another_form_is_skipped(text: str) -> None:
    assert received([text], now=0) == ([], 0)


def test_a_crowd_is_bounded_and_counted() -> None:
    crowd = [person(str(number), number) for number in range(MAX_SHOWN + 7)]
    text = report_of(crowd, until=100)
    assert len(json.loads(text)["people"]) == MAX_SHOWN
    people, more = received([text], now=0)
    assert (len(people), more, merged(people, more).more) == (MAX_SHOWN, 7, 7)
