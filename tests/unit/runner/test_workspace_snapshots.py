"""Snapshots of the workspace before turns, called as the helper calls them."""

import io
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jelmore_runner.workspace import snapshots
from jelmore_runner.workspace.answers import Answer, RefusedError
from jelmore_runner.workspace.git_commands import Git


def _call(operation: Any, root: Path, **asked: Any) -> tuple[dict[str, Any], bytes]:
    sink = io.BytesIO()
    operation(root, asked, Answer(sink))
    head, _, content = sink.getvalue().partition(b"\n")
    return json.loads(head), content


def _keep(root: Path, seq: int) -> dict[str, Any]:
    return _call(snapshots.snapshot, root, seqs=[seq], within_s=60)[0]


def _git(root: Path, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root.parent)}
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=root, env=environment, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "workspace"
    made.mkdir()
    return made


def _contents(root: Path) -> dict[str, bytes]:
    """Return every file of the workspace without its repositories."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_files_come_back_byte_for_byte_and_new_ones_go(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "changed").write_bytes(b"one\r\ntwo\r\n")
    (root / "deleted").write_text("was here")
    (root / "same").write_text("stays")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("same")
    (root / ".gitattributes").write_text("* text=auto eol=lf ident\n")
    before, untouched = _contents(root), (root / "same").stat().st_mtime_ns
    assert _keep(root, 5)["in_time"]
    (root / "folder" / "changed").write_bytes(b"other")
    (root / "deleted").unlink()
    (root / "link").unlink()
    (root / "run").unlink()
    (root / "new" / "deep").mkdir(parents=True)
    (root / "new" / "deep" / "file").write_text("new")
    diff, _ = _call(snapshots.diff_turn, root, seq=5, form="json")
    assert {(each["path"], each["status"]) for each in diff["files"]} == {
        ("folder/changed", "modified"),
        ("deleted", "deleted"),
        ("link", "deleted"),
        ("run", "deleted"),
        ("new/deep/file", "added"),
    }
    for _ in range(2):  # it may run twice
        _call(snapshots.restore, root, seq=5)
        assert _contents(root) == before
    assert (root / "link").readlink() == Path("same")
    assert os.access(root / "run", os.X_OK)
    assert not (root / "new").exists()
    assert (root / "same").stat().st_mtime_ns == untouched, "files that are the same are not written"


def test_a_folder_may_have_become_a_file_or_a_link_that_leads_out(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("not ours")
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / "a").write_text(name)
    _keep(root, 1)
    for name in ("one", "two"):
        (root / name / "a").unlink()
        (root / name).rmdir()
    (root / "one").symlink_to(outside)
    (root / "two").write_text("a file")
    _call(snapshots.restore, root, seq=1)
    assert (root / "one" / "a").read_text() == "one"
    assert (root / "two" / "a").read_text() == "two"
    assert (outside / "a").read_text() == "not ours"


def test_ignored_files_are_neither_kept_nor_removed(root: Path) -> None:
    (root / ".gitignore").write_text("*.log\n")
    _keep(root, 1)
    (root / "node_modules").mkdir()
    (root / "node_modules" / "package").write_text("x")
    (root / "a.log").write_text("line")
    (root / "new").write_text("x")
    _call(snapshots.restore, root, seq=1)
    assert set(_contents(root)) == {".gitignore", "a.log", "node_modules/package"}


def test_files_that_were_ignored_at_the_snapshot_stay(root: Path) -> None:
    (root / ".gitignore").write_text(".env\n/data/\n")
    (root / ".env").write_text("secret")
    for folder in ("data", "inner"):
        (root / folder).mkdir()
    (root / "data" / "large").write_text("x")
    (root / "inner" / ".gitignore").write_text("*.log\n")
    (root / "inner" / "a.log").write_text("line")
    before = _contents(root)
    _keep(root, 1)
    (root / ".gitignore").unlink()
    (root / "inner" / ".gitignore").write_text("")
    (root / "new").write_text("x")
    _keep(root, 2)
    for _ in range(2):
        _call(snapshots.restore, root, seq=1)
        assert _contents(root) == before
    (root / "outer").mkdir()
    (root / "outer" / ".gitignore").write_text("new\n!/.env\n")  # one that was not there then says nothing
    (root / "outer" / "new").write_text("x")
    _call(snapshots.restore, root, seq=1)
    assert set(_contents(root)) == {*before, "outer/new"}, "what is ignored now is not looked at"


def test_an_ignore_file_may_replace_a_file_or_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / ".gitignore").write_text("x\n")
    before = _contents(root)
    _keep(root, 1)
    for name in ("one", "two"):
        (root / name / ".gitignore").unlink()
        (root / name).rmdir()
    (root / "one").symlink_to(tmp_path / "outside")
    (root / "two").write_text("a file")
    _call(snapshots.restore, root, seq=1)
    assert _contents(root) == before
    assert not list((tmp_path / "outside").iterdir())


def test_files_that_a_snapshot_could_not_take_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "kept").write_text("one")
    (root / "changed").write_text("small")
    _keep(root, 1)
    for name in ("large", "changed"):
        (root / name).write_bytes(os.urandom(50_000))
    before = _contents(root)
    with monkeypatch.context() as unreadable:
        unreadable.setattr(Git, "run", _run_without({"large", "changed"}))
        assert _keep(root, 2)["left_out"] == 2
    (root / "kept").write_text("two")
    (root / "new").write_text("x")
    _call(snapshots.restore, root, seq=2)
    assert _contents(root) == {**before, "kept": b"one"}
    monkeypatch.setattr(snapshots, "MAX_KEPT", 1)
    _keep(root, 3)
    _call(snapshots.tidy, root)
    git = ["git", "--git-dir", str(root.parent / "home" / snapshots.STORE), "for-each-ref", "--format=%(refname)"]
    assert subprocess.check_output([*git, "refs/left-out"], text=True).split() == ["refs/left-out/3"]


def _run_without(names: set[str]) -> Callable[..., str]:
    """Return git that cannot read these files: root can read all."""
    run = Git.run

    def without(git: Git, *arguments: str, **more: Any) -> str:
        if arguments[0] != "add":
            return run(git, *arguments, **more)
        run(git, *arguments, *(f":(exclude,top,literal){name}" for name in names), **more)
        raise RefusedError("git", "add: Permission denied")

    return without


def test_nothing_of_a_hostile_repository_runs(root: Path) -> None:
    _git(root, "init", "-q")
    ran = root.parent / "ran"
    command = f"touch {ran}"
    hooks = root / ".git" / "hooks"
    for name in ("post-index-change", "post-checkout", "reference-transaction", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\n{command}\n")
        (hooks / name).chmod(0o755)
    config = '[core]\nfsmonitor = {0}\n[filter "evil"]\nclean = {0}\nsmudge = {0}\nprocess = {0}\n'
    config += '[diff "evil"]\ntextconv = {0}\n'
    with (root / ".git" / "config").open("a") as file:
        file.write(config.format(command))
    (root / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (root / "file").write_text("one")
    _keep(root, 1)
    (root / "file").write_text("two")
    _call(snapshots.diff_turn, root, seq=1, form="patch")
    _call(snapshots.restore, root, seq=1)
    _call(snapshots.tidy, root)
    assert (root / "file").read_text() == "one"
    assert not ran.exists()


def test_commits_of_the_workspace_stay_and_its_index_is_not_touched(root: Path) -> None:
    _git(root, "init", "-q")
    (root / "file").write_text("one")
    _keep(root, 1)
    _git(root, "add", "file")
    _git(root, "commit", "-q", "-m", "one")
    (root / "file").write_text("two")
    index = (root / ".git" / "index").read_bytes()
    _call(snapshots.restore, root, seq=1)
    assert (root / "file").read_text() == "one"
    assert (root / ".git" / "index").read_bytes() == index
    _git(root, "rev-parse", "HEAD")


def test_files_of_repositories_further_down_are_kept_too(root: Path) -> None:
    for name in ("with", "without", "with/inner"):
        (root / name).mkdir()
        (root / name / "file").write_text(name)
        _git(root / name, "init", "-q")
    _git(root / "with", "add", "file")
    _git(root / "with", "commit", "-q", "-m", "one")
    before = _contents(root)
    _keep(root, 1)
    for name in ("with", "without", "with/inner"):
        (root / name / "file").write_text("changed")
        (root / name / "new").write_text("new")
    diff, _ = _call(snapshots.diff_turn, root, seq=1, form="json")
    assert diff["changed"] == 6
    _call(snapshots.restore, root, seq=1)
    assert _contents(root) == before
    _git(root / "with", "rev-parse", "HEAD")


def test_what_is_too_much_is_refused_and_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep(root, 1)
    monkeypatch.setattr(snapshots, "MAX_CHANGED_FILES", 10)
    for number in range(11):
        (root / str(number)).write_text("x")
    for operation in (snapshots.snapshot, snapshots.diff_turn, snapshots.restore):
        with pytest.raises(RefusedError, match="10 files") as refused:
            _call(operation, root, seq=1, seqs=[2], within_s=60, form="json")
        assert refused.value.code == "too_large"
    assert len(_contents(root)) == 11
    monkeypatch.undo()
    with pytest.raises(RefusedError, match="no snapshot"):
        _call(snapshots.restore, root, seq=2)


def test_bytes_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_CHANGED_BYTES", 1000)
    (root / "large").write_bytes(bytes(1001))
    with pytest.raises(RefusedError, match="1000 bytes"):
        _keep(root, 1)


def test_a_late_snapshot_is_of_no_turn_and_makes_the_next_one_quick(root: Path) -> None:
    (root / "file").write_text("x")
    assert not _call(snapshots.snapshot, root, seqs=[1], within_s=0)[0]["in_time"]
    with pytest.raises(RefusedError, match="no snapshot"):
        _call(snapshots.diff_turn, root, seq=1, form="json")
    assert _keep(root, 2)["in_time"]


def test_a_snapshot_after_the_moment_until_which_its_turn_waited_is_of_no_turn(root: Path) -> None:
    (root / "file").write_text("x")
    now = time.monotonic()
    assert not _call(snapshots.snapshot, root, seqs=[1], within_s=60, due=now)[0]["in_time"]
    with pytest.raises(RefusedError, match="no snapshot"):
        _call(snapshots.diff_turn, root, seq=1, form="json")
    assert _call(snapshots.snapshot, root, seqs=[1], within_s=60, due=now + 60)[0]["in_time"]


def test_a_file_that_cannot_be_read_is_left_out(root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    (root / "secret").write_text("x")
    (root / "secret").chmod(0)
    (root / "file").write_text("x")
    assert _keep(root, 1)["left_out"] == 1


def test_the_oldest_are_forgotten_and_the_others_stay_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_KEPT", 3)
    for seq in (5, 9, 10, 11, 100):
        (root / "file").write_text(str(seq))
        assert _keep(root, seq)["overdue"] is (seq >= 11)
    assert _call(snapshots.tidy, root)[0] == {"kept": 3, "removed": 2}
    with pytest.raises(RefusedError, match="no snapshot"):
        _call(snapshots.restore, root, seq=9)
    _call(snapshots.restore, root, seq=10)
    assert (root / "file").read_text() == "10"
    assert _keep(root, 101)["in_time"], "the index names no object that is gone"
    monkeypatch.setattr(snapshots, "MAX_STORE_BYTES", 0)
    assert _call(snapshots.tidy, root)[0] == {"kept": 2, "removed": 2}


def test_what_a_killed_call_left_does_not_hinder_the_next(root: Path) -> None:
    _keep(root, 1)
    store = root.parent / "home" / snapshots.STORE
    for left in ("index.lock", "packed-refs.lock", "refs/last.lock", "refs/turns/2.lock"):
        (store / left).write_text("")
    (root / "file").write_text("x")
    assert _keep(root, 2)["in_time"]
