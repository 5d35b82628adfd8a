"""Pooled connections are used again as they are, so no statement may leave something behind in one."""

import re
from pathlib import Path

import pytest

from jelmore.drivers import sql

FOLDER = Path(sql.__file__).parent
OWN_CONNECTION = {"outbox.sql", "schema.sql"}  # the holder of the outbox, and migrations
LEFT_BEHIND = re.compile(
    r"^\s*set\s+(?!local\b)(session\b|\w+\s*(=|to)\b)|\bpg_(try_)?advisory_(un)?lock|^\s*(listen|prepare|declare)\b|\btemp(orary)?\s+table",
    re.IGNORECASE | re.MULTILINE,
)


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.sql")))
def test_no_statement_outlives_its_transaction(name: str) -> None:
    found = [match[0].strip() for match in LEFT_BEHIND.finditer((FOLDER / name).read_text())]
    assert bool(found) == (name in OWN_CONNECTION), found
