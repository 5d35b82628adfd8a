"""The workspace of an earlier turn as a tar: what a rewind would leave, while the workspace itself stays as it is."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from jelmore_runner.workspace import archives, snapshot_archives, snapshots
from jelmore_runner.workspace.answers import Answer, RefusedError


def _call(operation: Any, root: Path, *body: Any, **asked: Any) -> tuple[dict[str, Any], bytes]:
    sink = io.BytesIO()
    operation(root, asked, *body, Answer(sink))
    head, _, content = sink.getvalue().partition(b"\n")
    return json.loads(head), content


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "workspace"
    made.mkdir()
    return made


def _all(root: Path) -> dict[str, str]:
    """Return what every entry is: its content, its target, or that it is a folder."""
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}"
        if path.is_symlink()
        else "folder"
        if path.is_dir()
        else path.read_text()
        for path in root.rglob("*")
    }


def _changed_a_lot(root: Path) -> None:
    """Keep turn 1, and change the workspace in every way that a rewind takes back."""
    (root / ".gitignore").write_text(".env\n/build/\n")
    for name in ("deep/er", "was-folder", "inner", "build"):
        (root / name).mkdir(parents=True)
    (root / "same").write_text("same")
    (root / "changed").write_text("before")
    (root / "deep/er/deleted").write_text("was here")
    (root / "was-folder/file").write_text("in a folder")
    (root / "was-file").write_text("a file")
    (root / "link").symlink_to("same")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / ".env").write_text("secret")
    (root / "build/out").write_text("built")
    (root / "inner/.gitignore").write_text("*.log\n")
    (root / "inner/a.log").write_text("line")
    assert _call(snapshots.snapshot, root, seqs=[1], within_s=60)[0]["in_time"]
    (root / "changed").write_text("after")
    (root / "deep/er/deleted").unlink()
    (root / "was-folder/file").unlink()
    (root / "was-folder").rmdir()
    (root / "was-folder").symlink_to("deep")
    (root / "was-file").unlink()
    (root / "was-file").mkdir()
    (root / "was-file/below").write_text("x")
    (root / "link").unlink()
    (root / "run").unlink()
    (root / ".gitignore").unlink()
    (root / "inner/.gitignore").write_text("")
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/file").write_text("new")
    (root / "node_modules").mkdir()
    (root / "node_modules/package").write_text("x")
    assert _call(snapshots.snapshot, root, seqs=[2], within_s=60)[0]["in_time"]


def test_it_has_what_a_rewind_leaves_and_changes_nothing(root: Path, tmp_path: Path) -> None:
    _changed_a_lot(root)
    before = _all(root)
    head, packed = _call(snapshot_archives.archive_turn, root, seq=1)
    assert (head, _all(root)) == ({"kind": "archive", "seq": 1}, before)
    fork = tmp_path / "fork"
    fork.mkdir()
    asked = {"path": "", "form": "tar", "most_bytes": 2**20, "copy": True}
    _call(archives.extract, fork, io.BytesIO(packed), **asked)
    _call(snapshots.restore, root, seq=1)
    assert _all(fork) == _all(root)
    assert (fork / "changed").read_text() == "before"
    assert os.access(fork / "run", os.X_OK)


def test_a_turn_without_a_snapshot_and_lost_content_are_refused(root: Path) -> None:
    (root / "file").write_text("one")
    _call(snapshots.snapshot, root, seqs=[1], within_s=60)
    with pytest.raises(RefusedError) as error:
        _call(snapshot_archives.archive_turn, root, seq=3)
    assert error.value.code == "conflict"
    (root / "file").write_text("two")
    _call(snapshots.snapshot, root, seqs=[2], within_s=60)
    store = root.parent / "home" / snapshots.STORE
    _, blob = next(iter(_entries(root)))
    (store / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(RefusedError, match="no content of 'file'"):
        _call(snapshot_archives.archive_turn, root, seq=1)


def _entries(root: Path) -> list[tuple[str, str]]:
    with snapshots.opened(root) as store:
        listed = store.git().run("ls-tree", "-r", store.named(1)).splitlines()
    return [(line.split("\t")[1], line.split()[2]) for line in listed]


def test_a_workspace_of_an_ordinary_size_is_a_readable_tar(root: Path) -> None:
    for number in range(300):
        (root / f"file-{number}").write_bytes(os.urandom(3000))
    _call(snapshots.snapshot, root, seqs=[1], within_s=60)
    kept = {path.name: path.read_bytes() for path in root.iterdir()}
    for number in range(300):
        (root / f"file-{number}").write_text("changed")
    _, packed = _call(snapshot_archives.archive_turn, root, seq=1)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {each.name: tar.extractfile(each).read() for each in tar if each.isreg()} == kept  # type: ignore[union-attr]
