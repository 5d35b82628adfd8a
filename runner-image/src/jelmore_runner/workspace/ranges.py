"""Which bytes of a file an HTTP range means. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.end - self.start


def resolve(first: int | None, last: int | None, size: int) -> Span | None:
    """Return the bytes that a range means in a file of `size` bytes; None when none of them exists.

    `first` None means the last `last` bytes; `last` None means up to the end. `last` is inclusive, as in HTTP.
    """
    if first is None:
        count = min(last or 0, size)
        return Span(size - count, size) if count else None
    if first >= size:
        return None
    end = size if last is None else min(last + 1, size)
    return Span(first, end) if end > first else None


def matches(wanted: list[str], etag: str | None) -> bool:
    """Return whether a list of entity tags names this one; `*` names any that exists. Weak tags compare by value."""
    if etag is None:
        return False
    return any(each == "*" or each.removeprefix("W/") == etag for each in wanted)
