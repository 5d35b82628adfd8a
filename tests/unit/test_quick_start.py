"""Commands beside a quick start are about that quick start, and about no other installation."""

from pathlib import Path
from uuid import UUID

import pytest

from jelmore.backup_command import _check_complete
from jelmore.embedded.quickstart import plan
from jelmore.quick_start import beside, owns_database, places
from jelmore.session.errors import RefusedError
from jelmore.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "JELMORE_INSTANCE", "JELMORE_RUN_DIR", "JELMORE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / ".jelmore"
    (data / "postgres").mkdir(parents=True)
    (data / "database-url").write_text("postgresql://own\n")
    return data


def test_a_command_finds_the_installation_that_the_quick_start_makes(folder: Path) -> None:
    found, made = beside(Settings()), plan(Settings(), {})
    assert (found.run_dir, found.instance) == (made.run_dir, made.environment["JELMORE_INSTANCE"]) == places(Settings())
    assert found.instance.startswith("quick-")
    assert found.database_url.get_secret_value() == "postgresql://own"
    assert owns_database(found)
    assert not owns_database(Settings())
    assert folder == found.data_dir


def test_what_is_chosen_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JELMORE_INSTANCE", "mine")
    monkeypatch.setenv("DATABASE_URL", "postgresql://own")
    assert (beside(Settings()).instance, beside(Settings()).run_dir) == ("mine", places(Settings())[0])
    monkeypatch.setenv("DATABASE_URL", "postgresql://another")
    assert beside(Settings()).run_dir == Path("/run/jelmore"), "another database is another installation"


def test_without_a_quick_start_nothing_changes_unless_one_is_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JELMORE_INSTANCE", raising=False)
    assert beside(Settings()) == Settings()
    assert beside(Settings(), expected=True).instance == places(Settings())[1]


def test_a_backup_of_another_engine_is_refused_and_a_lost_workspace_is_named() -> None:
    one, two = UUID(int=1), UUID(int=2)
    said: list[str] = []
    with pytest.raises(RefusedError, match=r"none of the 2 live sessions .*'default'"):
        _check_complete(Settings(), set(), {one, two}, said.append)
    _check_complete(Settings(), set(), set(), said.append)
    _check_complete(Settings(), {one}, {one, two}, said.append)
    assert said == [f"workspace missing: {two}"]
