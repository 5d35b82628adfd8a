"""The list of promises: complete, each proved by a test that exists. It prevents a promise that nobody checks."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "capabilities.md"
GROUPS: Final = {"S": 16, "E": 11, "O": 5, "L": 9, "I": 8, "M": 5, "D": 6}
KNOWN: Final = {f"{letter}{number:02}" for letter, count in GROUPS.items() for number in range(1, count + 1)}
_NOT_YET: Final = "\n## Not yet\n"
_LINE: Final = re.compile(r"^- \*\*(?P<id>\S+)\*\* (?P<text>.+?)(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[(?P<path>tests/[^\]:]+)::(?P<name>[^\]]+)\]\((?P<target>[^)]+)\)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the list."""

    id: str
    text: str

    def tests(self) -> list[tuple[str, str]]:
        """Return path and name of the tests it names."""
        return [(found["path"], found["name"]) for found in _LINK.finditer(self.text)]


def section(*, promised: bool) -> list[Line]:
    """Return the lines of what is promised, or of what is not yet there."""
    before, mark, after = PAGE.read_text().partition(_NOT_YET)
    assert mark, "the page has a section “Not yet”"
    return [Line(found["id"], found["text"]) for found in _LINE.finditer(before if promised else after)]


@cache
def defined_in(path: str) -> frozenset[str]:
    """Return the names of the tests that a file defines, in classes too."""
    return frozenset(_defined(ast.parse((ROOT / path).read_text()).body))


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _defined(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


def collected(path: Path) -> bool:
    """Whether pytest runs what the file defines: itself, or as a contract that a test file beside it takes over."""
    if path.name.startswith("test_"):
        return True
    module = f"from tests.{path.parent.name}.{path.stem} import"
    return any(module in beside.read_text() for beside in path.parent.glob("test_*.py"))


@pytest.mark.parametrize("promised", [True, False])
def test_an_id_occurs_once_in_its_section(promised: bool) -> None:
    ids = [line.id for line in section(promised=promised)]
    assert sorted(ids) == sorted(set(ids))


def test_every_known_id_is_promised_or_not_yet_there() -> None:
    written = {line.id for promised in (True, False) for line in section(promised=promised)}
    assert written == KNOWN


def test_every_line_of_the_page_is_read() -> None:
    lines = re.findall(r"^- ", PAGE.read_text(), re.MULTILINE)
    assert len(lines) == len(section(promised=True)) + len(section(promised=False))


@pytest.mark.parametrize("line", section(promised=True), ids=lambda line: line.id)
def test_a_promise_names_tests_that_exist(line: Line) -> None:
    tests = line.tests()
    assert tests, "a promise names at least one test"
    assert len(tests) == len(set(tests)) == line.text.count("[tests/")
    for path, name in tests:
        assert (ROOT / path).is_file(), path
        assert name in defined_in(path), f"{path} has no {name}"
        assert collected(ROOT / path), f"{path} is never run"
    for found in _LINK.finditer(line.text):
        assert found["target"] == f"../{found['path']}"
