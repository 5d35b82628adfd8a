"""What the workspace's watcher cannot see for itself."""

from pathlib import Path

from jelmore_runner.watch import _in_new_directories


def test_files_written_before_a_new_directory_was_watched_are_found(tmp_path: Path) -> None:
    deep = tmp_path / "new" / "deep"
    deep.mkdir(parents=True)
    for name in ("new/early.txt", "new/deep/too.txt", "new/seen.txt", "new/left.pyc", "old.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "new" / "node_modules").mkdir()
    (tmp_path / "new" / "node_modules" / "many.js").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    changes = [("new", "created"), ("new/seen.txt", "modified"), ("link", "created"), ("old.txt", "created")]
    found = _in_new_directories(tmp_path, [(str(tmp_path / path), word) for path, word in changes])
    assert sorted(found) == [str(deep / "too.txt"), str(tmp_path / "new" / "early.txt")]
    assert (
        _in_new_directories(tmp_path, [(str(tmp_path / "new"), "deleted"), (str(tmp_path / "gone"), "created")]) == []
    )
