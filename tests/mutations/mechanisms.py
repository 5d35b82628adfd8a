"""Reads the mechanisms that can be taken away."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`old` in `file` keeps the promise; with `new` in its place the tests must fail."""

    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mechanisms() -> list[Mechanism]:
    """Return them in the order of the file."""
    read = tomllib.loads((Path(__file__).parent / "mechanisms.toml").read_text(encoding="utf-8"))
    return [Mechanism(**{**each, "tests": tuple(each["tests"])}) for each in read["mechanism"]]
