"""What the supervisor reads in the agent's tree: it is never led out, made to wait, or made to grow."""

import os
from pathlib import Path, PurePath

import pytest

from jelmore_runner.git_activity import MAX_PER_REPORT, GitActivityReader, git_directory_of
from jelmore_runner.git_positions import GitPositions
from jelmore_runner.safe_files import file_size_below, opened_directory, read_file_below, text_of

COMMIT = "ab" * 20


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the supervisor outside of the workspace."""
    path = tmp_path / "state" / "journal"
    path.parent.mkdir()
    path.write_text("secret")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def test_a_regular_file_is_read_within_bounds(workspace: Path) -> None:
    (workspace / "a").mkdir()
    (workspace / "a" / "b").write_text("0123456789")
    assert read_file_below(workspace, PurePath("a/b"), 4) == b"0123"
    assert read_file_below(workspace, PurePath("a/b"), 100, start=7) == b"789"
    assert file_size_below(workspace, PurePath("a/b")) == 10
    with opened_directory(workspace, ["a"]) as descriptor:
        assert os.stat("b", dir_fd=descriptor).st_size == 10


def test_links_lead_nowhere(workspace: Path, secret: Path) -> None:
    (workspace / "file").symlink_to(secret)
    (workspace / "folder").symlink_to(secret.parent)
    for path in ("file", "folder/journal", "../state/journal", str(secret)):
        assert read_file_below(workspace, PurePath(path), 100) is None
        assert file_size_below(workspace, PurePath(path)) is None
    for parts in (["folder"], [".."], ["file"]):
        with pytest.raises(OSError, match=r"\w"), opened_directory(workspace, parts):
            pass


@pytest.mark.timeout(10)
def test_a_fifo_and_a_device_are_absent(workspace: Path) -> None:
    os.mkfifo(workspace / "fifo")
    (workspace / "zero").symlink_to("/dev/zero")
    assert read_file_below(workspace, PurePath("fifo"), 100) is None
    assert read_file_below(workspace, PurePath("zero"), 100) is None
    assert read_file_below(Path("/dev"), PurePath("zero"), 100) is None


def test_a_name_that_is_not_utf_8_becomes_text() -> None:
    name = os.fsdecode(b"a\xff")
    assert text_of(name) == "a�"
    assert text_of(name).encode()


def repository(workspace: Path, place: str = ".git", branch: str = "main") -> Path:
    git = workspace / place
    (git / "logs").mkdir(parents=True)
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
    (git / "refs" / "heads" / branch).write_text(COMMIT + "\n")
    return git


def commit(git: Path, number: int) -> None:
    with (git / "logs" / "HEAD").open("a") as log:
        log.write(f"{'0' * 40} {number:040x} a <a@b> 1 +0000\tcommit: {number}\n")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("record", ["HEAD", "refs/heads/main", "packed-refs", "logs/HEAD"])
def test_what_a_record_of_git_is_replaced_by_is_never_published(workspace: Path, secret: Path, record: str) -> None:
    git = repository(workspace)
    reader = GitActivityReader(workspace)
    for make in (lambda path: path.symlink_to(secret), os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (git / record).unlink(missing_ok=True)
        make(git / record)
        assert "secret" not in str(reader.changes_of(git / "HEAD"))


def test_a_head_that_is_no_commit_is_not_published(workspace: Path) -> None:
    git = repository(workspace)
    (git / "HEAD").write_text("some words of another file")
    assert GitActivityReader(workspace).changes_of(git / "HEAD") == []


def test_more_commits_than_fit_are_counted(workspace: Path) -> None:
    git = repository(workspace)
    reader = GitActivityReader(workspace)
    reader.remember_present()
    for number in range(MAX_PER_REPORT + 7):
        commit(git, number)
    entries = reader.changes_of(git / "logs" / "HEAD")
    assert len(entries) == MAX_PER_REPORT
    assert entries[0]["more"] == 7
    assert reader.changes_of(git / "logs" / "HEAD") == []


def test_what_came_while_the_watch_was_down_is_reported_once(workspace: Path) -> None:
    git = repository(workspace)
    reader = GitActivityReader(workspace)
    assert reader.catch_up() == [], "an earlier run has reported what is there"
    commit(git, 1)
    assert [entry["op"] for entry in reader.catch_up()] == ["commit"]
    assert reader.catch_up() == []


def test_what_came_while_no_runner_ran_is_reported_once(workspace: Path, tmp_path: Path) -> None:
    git = repository(workspace)
    commit(git, 1)
    positions = GitPositions(tmp_path / "positions")
    first = GitActivityReader(workspace, positions)
    assert first.catch_up() == [], "what is there at the first start was brought along"
    first.save()
    commit(git, 2)
    assert [entry["head"] for entry in first.changes_of(git / "logs" / "HEAD")] == [f"{2:040x}"]
    first.save()
    commit(git, 3)
    other = repository(workspace, "other/.git")
    commit(other, 4)
    second = GitActivityReader(workspace, positions)
    assert sorted((entry["repository"], entry["head"]) for entry in second.catch_up()) == [
        (".", f"{3:040x}"),
        ("other", f"{4:040x}"),
    ]
    second.save()
    assert GitActivityReader(workspace, positions).catch_up() == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b", ".git": -1}'])
def test_positions_that_cannot_be_read_are_no_failure(workspace: Path, tmp_path: Path, content: str) -> None:
    commit(repository(workspace), 1)
    (tmp_path / "positions").write_text(content)
    reader = GitActivityReader(workspace, GitPositions(tmp_path / "positions"))
    assert len(reader.catch_up()) <= 1
    reader.save()
    assert GitActivityReader(workspace, GitPositions(tmp_path / "positions")).catch_up() == []


@pytest.mark.parametrize(
    ("place", "shown"),
    [("a/b/c/.git", "a/b/c"), (".git/modules/lib/deep", "lib/deep"), ("x/.git/modules/lib", "x/lib")],
)
def test_deep_repositories_and_submodules_are_seen(workspace: Path, place: str, shown: str) -> None:
    git = repository(workspace, place)
    reader = GitActivityReader(workspace)
    reader.remember_present()
    assert reader.changes_of(git / "HEAD") == [], "what an earlier run has reported is not reported again"
    commit(git, 1)
    (entry,) = reader.changes_of(git / "logs" / "HEAD")
    assert (entry["op"], entry["branch"], entry["head"], entry["repository"]) == ("commit", "main", f"{1:040x}", shown)


def test_a_linked_worktree_is_seen_by_its_own_place(workspace: Path) -> None:
    repository(workspace, "main/.git", "feature")
    git = workspace / "main/.git/worktrees/wt"
    (git / "logs").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/feature\n")
    (git / "gitdir").write_text(f"{workspace}/wt/.git\n")
    reader = GitActivityReader(workspace)
    commit(git, 3)
    (entry,) = reader.changes_of(git / "logs" / "HEAD")
    assert (entry["repository"], entry["branch"], entry["head"]) == ("wt", "feature", f"{3:040x}")


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        (".git/HEAD", ".git"),
        ("a/.git/refs/heads/x/y", "a/.git"),
        (".git/worktrees/w/logs/HEAD", ".git/worktrees/w"),
        (".git/modules/a/b/HEAD", ".git/modules/a/b"),
        (".git/HEAD.lock", None),
        (".git/objects/ab/cd", None),
        (".git/index", None),
        ("HEAD", None),
    ],
)
def test_the_git_directory_of_a_record(path: str, directory: str | None) -> None:
    assert git_directory_of(PurePath(path)) == (None if directory is None else PurePath(directory))
