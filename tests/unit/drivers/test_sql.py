"""The files of SQL: every query is named, described and used; migrations are numbered without a gap."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from jelmore import drivers
from jelmore.drivers import sql
from jelmore.drivers.migrations import migrations

FILES = sorted(entry.name.removesuffix(".sql") for entry in files(sql).iterdir() if entry.name.endswith(".sql"))
_MIGRATIONS = sql.migration_names()
_SOURCES = "".join(path.read_text() for path in Path(str(drivers.__file__)).parent.glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_every_query_is_described_and_used(name: str) -> None:
    text = sql.text(f"{name}.sql")
    queries = sql.queries(name)
    assert list(queries) == re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)
    assert text.count(";\n") == len(queries)
    for query in queries:
        assert re.search(rf"^-- name: {query}\n-- [A-Z](.*\n-- )*.*[.;]$", text, re.MULTILINE)
        assert f'["{query}"]' in _SOURCES


@pytest.mark.parametrize("path", [*(f"{name}.sql" for name in FILES), *(f"migrations/{each}" for each in _MIGRATIONS)])
def test_parameters_have_names(path: str) -> None:
    assert re.findall(r"\$\d+", sql.text(path)) == []


def test_names_become_numbers_and_casts_stay() -> None:
    query = "select :b::text, :a, :b, '12:30', x::int from t where name = any(:a_list::text[])"
    numbered, values = sql.bind(query, {"a": 1, "b": 2, "a_list": [3], "unused": 4})
    assert numbered == "select $1::text, $2, $1, '12:30', x::int from t where name = any($3::text[])"
    assert values == [2, 1, [3]]
    with pytest.raises(KeyError):
        sql.bind(query, {"a": 1})


def test_migrations_have_ascending_numbers() -> None:
    numbers = [migration.number for migration in migrations()]
    assert numbers == sorted(set(numbers))
    assert len({migration.checksum for migration in migrations()}) == len(migrations())
