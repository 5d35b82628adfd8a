"""`python -m tests.bench.compare A B`: two runs of `make bench ARGS="--json FILE"`, row beside row.

The ratio is B's median over A's. Where both runs measured a floor, `of floors` is the same ratio of the floors: what
the machine did between the runs. A row of one run only is listed below.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.bench.table import aligned, number

_COLUMNS: Final = ("measured", "unit", "A", "B", "ratio", "of floors", "p95 of A", "p95 of B")
_LEFT: Final = frozenset({0, 1})


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; return 0, or 2 when a file is no run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("a", type=Path, metavar="A", help="the JSON of the earlier run")
    parser.add_argument("b", type=Path, metavar="B", help="the JSON of the later run")
    options = parser.parse_args(arguments)
    try:
        a, b = _read(options.a), _read(options.b)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"compare: not the JSON of a run: {error}", file=sys.stderr)
        return 2
    print(f"A: {a['header']}\n\nB: {b['header']}\n\n{compared(a['rows'], b['rows'])}")
    return 0


def compared(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> str:
    """Return the table, and which rows only one run has."""
    by_name = {row["name"]: row for row in b}
    both = [(row, by_name[row["name"]]) for row in a if row["name"] in by_name]
    lines = [aligned([list(_COLUMNS), *(_cells(*pair) for pair in both)], _LEFT)]
    shared = {row["name"] for row, _ in both}
    for name, rows in (("A", a), ("B", b)):
        alone = [row["name"] for row in rows if row["name"] not in shared]
        if alone:
            lines.append(f"\nOnly in {name}: " + "; ".join(alone))
    return "\n".join(lines)


def _cells(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [
        a["name"],
        a["unit"],
        number(a["median"]),
        number(b["median"]),
        _ratio(a["median"], b["median"]),
        _ratio(a["floor_median"], b["floor_median"]),
        number(a["p95"]),
        number(b["p95"]),
    ]


def _ratio(a: float | None, b: float | None) -> str:
    return f"{b / a:.2f}" if a and b is not None else ""


def _read(path: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(path.read_text())
    for row in run["rows"]:
        if not {"name", "unit", "median", "p95", "floor_median"} <= row.keys():
            raise ValueError(f"{path}: a row without its figures")
    return run


if __name__ == "__main__":
    sys.exit(main())
