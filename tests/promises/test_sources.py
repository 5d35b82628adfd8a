"""What holds for the source files as a whole: which code the fakes of the tests may import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKES = sorted((ROOT / "tests" / "fakes").glob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, with the names taken from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FAKES, ids=lambda path: path.name)
def test_fakes_import_no_driver(path: Path) -> None:
    """A fake that shares a driver's code shares its mistakes, and the contract suite could not show them."""
    assert not {name for name in imported(path) if f"{name}.".startswith("jelmore.drivers.")}
