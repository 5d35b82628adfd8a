"""The SQL files: named queries, each with a description, and the migrations."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAMED = re.compile(r"^-- name: (\w+)\n(?:-- [^\n]*\n)+([^;]*);$", re.MULTILINE)

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


@cache
def queries(name: str) -> Mapping[str, str]:
    """Return the queries of `sql/{name}.sql` by their names."""
    return MappingProxyType(dict(_NAMED.findall(text(f"{name}.sql"))))


@cache
def _numbered(query: str) -> tuple[str, tuple[str, ...]]:
    names = tuple(dict.fromkeys(_PARAMETER.findall(query)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", query), names


def bind(query: str, values: Mapping[str, object]) -> tuple[str, list[object]]:
    """Replace `:name` parameters by `$1`, `$2` …; return the query and its values in order. Raises KeyError."""
    numbered, names = _numbered(query)
    return numbered, [values[name] for name in names]


def text(path: str) -> str:
    """Return the text of a file in this folder."""
    return files(__name__).joinpath(path).read_text(encoding="utf-8")


def migration_names() -> list[str]:
    """Return the file names of the migrations, in order."""
    return sorted(entry.name for entry in files(__name__).joinpath("migrations").iterdir() if entry.name[:4].isdigit())
