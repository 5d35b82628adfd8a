"""Two runs of the benchmarks, row beside row."""

import json
from pathlib import Path

import pytest

from tests.bench.compare import main
from tests.bench.table import Row


def _run(path: Path, *rows: Row) -> str:
    path.write_text(json.dumps({"header": path.stem, "rows": [row.to_mapping() for row in rows]}))
    return str(path)


def test_rows_of_both_runs_are_compared_and_others_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = _run(tmp_path / "a", Row("create", "ms", [10, 20, 30], [5], "floor"), Row("gone", "ms", [1]))
    b = _run(tmp_path / "b", Row("create", "ms", [30, 40, 50], [10], "floor"), Row("new", "ms", [1]))
    assert main([a, b]) == 0
    printed = capsys.readouterr().out
    assert "| create   | ms   | 20.0 | 40.0 |  2.00 |      2.00 |" in printed
    assert "Only in A: gone" in printed
    assert "Only in B: new" in printed


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = _run(tmp_path / "a", Row("create", "ms", [10]))
    (tmp_path / "b").write_text('{"header": "", "rows": [{"name": "create"}]}')
    assert main([a, str(tmp_path / "b")]) == 2
    assert main([a, str(tmp_path / "c")]) == 2
    assert "not the JSON of a run" in capsys.readouterr().err
