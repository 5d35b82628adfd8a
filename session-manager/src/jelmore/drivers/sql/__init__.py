"""The SQL, in files: named queries with a sentence each, and the migrations."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAMED = re.compile(r"^-- name: (\w+)\n(?:-- [^\n]*\n)+([^;]*);$", re.MULTILINE)


@cache
def queries(name: str) -> Mapping[str, str]:
    """Return the queries of `sql/{name}.sql` by their names."""
    return MappingProxyType(dict(_NAMED.findall(text(f"{name}.sql"))))


def text(path: str) -> str:
    """Return a file of this folder."""
    return files(__name__).joinpath(path).read_text(encoding="utf-8")


def migration_names() -> list[str]:
    """Return the file names of the migrations, in order."""
    return sorted(entry.name for entry in files(__name__).joinpath("migrations").iterdir() if entry.name[:4].isdigit())
