"""What the workspace's watches report, and what they leave alone."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from jelmore_runner import directory_watches, inotify
from jelmore_runner.directory_watches import MAX_DEPTH, Changes, DirectoryWatches, is_watched


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def watches(workspace: Path) -> Iterator[DirectoryWatches]:
    made = DirectoryWatches(workspace, 20)
    made.add_below(PurePath())
    yield made
    made.close()


async def changes_of(watches: DirectoryWatches) -> Changes:
    changes = Changes()
    async with asyncio.timeout(10):
        await watches.readable()
    watches.take(changes)
    return changes


def words(changes: Changes) -> dict[str, str]:
    return {str(path): word for path, word in changes.words.items()}


async def test_each_change_has_one_word(workspace: Path, watches: DirectoryWatches) -> None:
    (workspace / "old").write_text("x")
    (workspace / "away").write_text("x")
    await changes_of(watches)
    (workspace / "new").write_text("x")
    (workspace / "old").write_text("y")
    (workspace / "away").rename(workspace / "here")
    (workspace / "short").write_text("x")
    (workspace / "short").unlink()
    (workspace / "a").mkdir()
    assert words(await changes_of(watches)) == {
        "new": "created",
        "old": "modified",
        "away": "deleted",
        "here": "created",
        "a": "created",
    }


async def test_a_name_that_is_not_utf_8_is_reported(workspace: Path, watches: DirectoryWatches) -> None:
    name = os.fsdecode(b"a\xff")
    (workspace / name).write_text("x")
    (workspace / "b\udcfe").mkdir()
    assert words(await changes_of(watches)) == {name: "created", "b\udcfe": "created"}
    (workspace / "b\udcfe" / "inside").write_text("x")
    assert words(await changes_of(watches)) == {"b\udcfe/inside": "created"}


async def test_links_cost_no_watch_and_are_not_followed(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for number in range(30):
        (outside / str(number)).mkdir(parents=True)
    (workspace / "early").symlink_to(outside)
    watches = DirectoryWatches(workspace)
    watches.add_below(PurePath())
    (workspace / "late").symlink_to("/")
    (workspace / "folder").mkdir()
    assert set(words(await changes_of(watches))) == {"late", "folder"}
    (outside / "0" / "file").write_text("x")
    (workspace / "folder" / "root").symlink_to("/")
    (workspace / "late").unlink()
    assert words(await changes_of(watches)) == {"folder/root": "created", "late": "deleted"}
    assert len(watches) == 2
    watches.close()


async def test_a_directory_that_is_replaced_by_a_link_is_left(workspace: Path, tmp_path: Path) -> None:
    secret = tmp_path / "state"
    secret.mkdir()
    (workspace / "a" / "b").mkdir(parents=True)
    watches = DirectoryWatches(workspace)
    (workspace / "a" / "b").rmdir()
    (workspace / "a" / "b").symlink_to(secret)
    assert watches.add_below(PurePath("a/b")) == []
    assert watches.add_below(PurePath("..")) == []
    assert len(watches) == 0
    watches.close()


async def test_files_written_before_a_new_directory_was_watched_are_found(
    workspace: Path, watches: DirectoryWatches
) -> None:
    deep = workspace / "new" / "deep"
    deep.mkdir(parents=True)
    (deep / "too.txt").write_text("x")
    (workspace / "new" / "early.txt").write_text("x")
    (workspace / "new" / "node_modules").mkdir()
    (workspace / "new" / "node_modules" / "many.js").write_text("x")
    changes = await changes_of(watches)
    assert sorted(map(str, changes.found)) == ["new/deep/too.txt", "new/early.txt"]
    assert len(watches) == 3
    (deep / "later").write_text("x")
    assert words(await changes_of(watches)) == {"new/deep/later": "created"}


async def test_a_moved_directory_is_watched_in_its_new_place(workspace: Path) -> None:
    (workspace / "a" / "b").mkdir(parents=True)
    watches = DirectoryWatches(workspace)
    watches.add_below(PurePath())
    (workspace / "a").rename(workspace / "c")
    assert words(await changes_of(watches)) == {"a": "deleted", "c": "created"}
    assert len(watches) == 3
    await changes_of(watches)  # the ends of the old watches
    (workspace / "c" / "b" / "file").write_text("x")
    assert words(await changes_of(watches)) == {"c/b/file": "created"}
    watches.close()


async def test_watches_are_bounded_and_freed(workspace: Path, watches: DirectoryWatches) -> None:
    for number in range(30):
        (workspace / str(number)).mkdir()
    await changes_of(watches)
    assert len(watches) == 20
    assert watches.limited is not None
    for number in range(30):
        (workspace / str(number)).rmdir()
    await changes_of(watches)
    assert len(watches) == 1
    (workspace / "again").mkdir()
    await changes_of(watches)
    assert len(watches) == 2


async def test_lost_events_are_known(
    workspace: Path, watches: DirectoryWatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_watches, "MAX_CHANGES", 5)
    for number in range(9):
        (workspace / str(number)).write_text("x")
    changes = await changes_of(watches)
    assert len(changes.words) == 5
    assert changes.missed


async def test_the_end_of_the_workspace_is_an_error(workspace: Path, watches: DirectoryWatches) -> None:
    workspace.rmdir()
    with pytest.raises(OSError, match="workspace is gone"):
        await changes_of(watches)


@pytest.mark.parametrize(
    ("path", "watched"),
    [
        ("", True),
        ("a/b", True),
        ("a/node_modules/b", False),
        (".git", True),
        (".git/refs/heads/x", True),
        (".git/logs", True),
        (".git/logs/refs", False),
        (".git/objects/ab", False),
        ("a/.git/worktrees/w/logs", True),
        (".git/modules/lib/deep/refs", True),
        (".git/modules/lib/objects/ab", False),
        ("/".join("d" * (MAX_DEPTH + 1)), False),
    ],
)
def test_which_directories_are_watched(path: str, *, watched: bool) -> None:
    assert is_watched(PurePath(path)) is watched


def test_watches_are_counted_to_the_owner_of_the_workspace(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions have workspaces of two owners: neither uses up the watches of the other."""
    counted: list[int | None] = []

    class Counting(inotify.Inotify):
        def __init__(self, counted_for: int | None = None) -> None:
            counted.append(counted_for)
            super().__init__(counted_for)

    monkeypatch.setattr(directory_watches, "Inotify", Counting)
    DirectoryWatches(workspace).close()
    assert counted == [workspace.stat().st_uid]
