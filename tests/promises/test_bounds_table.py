"""The table of bounds in docs/security.md names tests and settings that exist, and events that are published."""

import ast
import re
from pathlib import Path

import pytest

from jelmore.session.events import EventType
from jelmore.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text().partition("## What is bounded")[2].partition("## What remains")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| ")][
    1:
]


def test_the_table_is_read_whole() -> None:
    assert len(ROWS) > 10
    assert all(len(row) == 5 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_bound_is_tested_and_named_as_it_is(row: list[str]) -> None:
    file, _, name = row[4].strip("`").partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    settings = {f"JELMORE_{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(r"JELMORE_[A-Z_]+", row[1])) <= settings
    events = {each.value for each in EventType}
    assert set(re.findall(r"`((?:session|system|egress|error)\.[a-z_]+)`", row[2])) <= events
