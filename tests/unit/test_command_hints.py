"""What the server's command says about a database that does not answer."""

from pathlib import Path

import pytest

from jelmore.__main__ import _reported, _what_to_do
from jelmore.session.errors import DependencyError, NotFoundError


def test_a_database_that_is_away_says_which_setting_and_where_the_quick_start_keeps_it(tmp_path: Path) -> None:
    away, file = DependencyError("postgres", "refused"), tmp_path / "database-url"
    assert "DATABASE_URL" in _what_to_do(away, file)
    assert "cat" not in _what_to_do(away, file)
    file.write_text("postgresql://x\n")
    assert f'DATABASE_URL="$(cat {file})"' in _what_to_do(away, file)
    assert _what_to_do(DependencyError("nats", "refused"), file) == ""
    assert _what_to_do(NotFoundError("none"), file) == ""


def test_it_is_printed_after_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail() -> int:
        raise DependencyError("postgres", "refused")

    assert _reported(fail) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "jelmore-server: postgres: refused"
    assert "DATABASE_URL" in second
