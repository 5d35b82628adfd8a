"""Who has a session open now: what one manager knows, what it reports to the others, and the list of all of them. Pure.

It is never stored: a person is there while a stream of theirs is open, and a few seconds longer, so that a reconnect or
a reload is not shown as leaving.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

MAX_SHOWN: Final = 50
"""People of one session that are listed; of more, only their number is known."""

GRACE_S: Final = 4.0
_MAX_NAME: Final = 128
_ROLES: Final = ("owner", "editor", "approver", "viewer")


@dataclass(frozen=True, slots=True)
class Person:
    """Who looks at a session. `id` and `role` are those of a participant."""

    id: str
    name: str
    role: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Attendance:
    """The people that have a session open, who came first first, and how many more there are."""

    people: tuple[Person, ...] = ()
    more: int = 0

    def to_mapping(self) -> dict[str, Any]:
        """Return the public form."""
        people = [
            {"id": each.id, "name": each.name, "role": each.role, "since": _text(each.since)} for each in self.people
        ]
        return {"people": people, "more": self.more}


@dataclass(slots=True)
class _Entry:
    person: Person
    streams: int
    left_at: float | None = None


@dataclass(slots=True)
class LocalAttendance:
    """The people of one session at one manager. Moments are seconds of a monotonic clock."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def enter(self, person: Person) -> bool:
        """Count a stream of a person; return whether they are new here."""
        entry = self._entries.get(person.id)
        if entry is None:
            self._entries[person.id] = _Entry(person, 1)
            return True
        entry.streams, entry.left_at = entry.streams + 1, None
        return False

    def leave(self, person_id: str, now: float) -> float | None:
        """Count a stream less; return when the person counts as gone, None while another stream is open."""
        entry = self._entries[person_id]
        entry.streams -= 1
        if entry.streams:
            return None
        entry.left_at = now
        return now + GRACE_S

    def clear(self, now: float) -> bool:
        """Forget who left `GRACE_S` ago; return whether anybody was forgotten."""
        gone = [
            key for key, each in self._entries.items() if each.left_at is not None and each.left_at + GRACE_S <= now
        ]
        for key in gone:
            del self._entries[key]
        return bool(gone)

    @property
    def next_exit(self) -> float | None:
        """When the next person counts as gone; None while everybody has a stream open."""
        left = [each.left_at + GRACE_S for each in self._entries.values() if each.left_at is not None]
        return min(left, default=None)

    @property
    def people(self) -> list[Person]:
        """Everybody, in the order in which they came."""
        return [each.person for each in self._entries.values()]


def report_of(people: list[Person], until: float) -> str:
    """Return what a manager reports to the others: bounded, and good until `until` (seconds since the epoch)."""
    return json.dumps({"until": until, **merged(people).to_mapping()}) if people else ""


def received(texts: Iterable[str], now: float) -> tuple[list[Person], int]:
    """Return the people in what managers report, and how many more they count. Skips what is too old or malformed."""
    people: list[Person] = []
    more = 0
    for text in texts:
        try:
            found = json.loads(text)
            if float(found["until"]) <= now:
                continue
            people += [_person(each) for each in found["people"][:MAX_SHOWN]]
            more += max(0, int(found["more"]))
        except (ValueError, TypeError, KeyError):
            continue
    return people, more


def merged(people: Iterable[Person], more: int = 0) -> Attendance:
    """Return everybody once, who came first first."""
    first: dict[str, Person] = {}
    for person in people:
        known = first.get(person.id)
        if known is None or person.since < known.since:
            first[person.id] = person
    ordered = sorted(first.values(), key=lambda each: (each.since, each.id))
    return Attendance(tuple(ordered[:MAX_SHOWN]), more + max(0, len(ordered) - MAX_SHOWN))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _person(found: Any) -> Person:
    role = str(found["role"])
    if role not in _ROLES:
        raise ValueError(role)
    return Person(str(found["id"]), str(found["name"])[:_MAX_NAME], role, datetime.fromisoformat(found["since"]))
