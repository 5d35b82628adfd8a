"""Git in the workspace, called as the helper calls it."""

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jelmore_runner.workspace import repository
from jelmore_runner.workspace.answers import PIECE_BYTES, Answer, RefusedError
from jelmore_runner.workspace.git_commands import HELD_BYTES


def _call(operation: Any, root: Path, **asked: Any) -> tuple[dict[str, Any], bytes]:
    sink = io.BytesIO()
    operation(root, asked, Answer(sink))
    head, _, content = sink.getvalue().partition(b"\n")
    return json.loads(head), content


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = tmp_path / "workspace"
    made.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=made, env=environment, check=True)
    return made


def test_a_commit_has_everything_and_an_author(root: Path) -> None:
    (root / "a").write_text("1\n")
    (root / ".jelmore-upload-1").write_text("half")
    first, _ = _call(repository.commit, root, message="one", author={"name": "Ann", "email": "ann@example.org"})
    assert first["created"]
    assert _call(repository.commit, root, message="two")[0] == {"commit": first["commit"], "created": False}
    diff, _ = _call(repository.diff, root, form="json")
    assert (diff["changed"], diff["base"]) == (0, first["commit"])


def test_a_diff_knows_renames_and_new_files_and_leaves_the_index_alone(root: Path) -> None:
    (root / "old").write_text("".join(f"{n}\n" for n in range(50)))
    _call(repository.commit, root, message="one")
    (root / "old").rename(root / "new name")
    (root / "added").write_text("x")
    index = (root / ".git" / "index").read_bytes()
    diff, _ = _call(repository.diff, root, form="json", **{"from": "HEAD"})
    assert {(each["path"], each["old_path"], each["status"]) for each in diff["files"]} == {
        ("added", None, "added"),
        ("new name", "old", "renamed"),
    }
    _, patch = _call(repository.diff, root, form="patch", **{"from": "HEAD"})
    assert b"rename from old" in patch
    assert (root / ".git" / "index").read_bytes() == index


def test_what_git_leaves_alone_is_no_deletion_and_its_replacement_is_not_lost(root: Path) -> None:
    """As the links that lead out of a repository, which `jelmore run --repo` does not bring along."""
    for name in ("out", "replaced"):
        (root / name).symlink_to("/etc/hosts")
    (root / "kept").write_text("x\n")
    start = _call(repository.commit, root, message="one")[0]["commit"]
    subprocess.run(["git", "update-index", "--skip-worktree", "out", "replaced"], cwd=root, check=True)
    for name in ("out", "replaced"):
        (root / name).unlink()
    for compared in ({}, {"from": start}):
        diff, _ = _call(repository.diff, root, form="json", **compared)
        assert diff["files"] == []
    (root / "replaced").write_text("of the agent\n")
    diff, _ = _call(repository.diff, root, form="json")
    assert {each["path"] for each in diff["files"]} == {"replaced"}
    made, _ = _call(repository.commit, root, message="two")
    assert made["created"]
    done = subprocess.run(["git", "diff", "--name-only", start, "HEAD"], cwd=root, check=True, capture_output=True)
    assert done.stdout == b"replaced\n"


def test_before_the_first_commit_everything_is_new(root: Path) -> None:
    (root / "a").write_text("1\n")
    diff, _ = _call(repository.diff, root, form="json")
    assert (diff["head"], diff["additions"]) == (None, 1)
    with pytest.raises(RefusedError, match="no commit"):
        _call(repository.bundle, root)


def test_a_bundle_has_what_comes_after(root: Path) -> None:
    (root / "a").write_text("1\n")
    first, _ = _call(repository.commit, root, message="one")
    (root / "a").write_text("2\n")
    second, _ = _call(repository.commit, root, message="two")
    whole, content = _call(repository.bundle, root)
    assert whole["commit"] == second["commit"]
    assert content.startswith(b"# v2 git bundle\n")
    _, later = _call(repository.bundle, root, **{"from": first["commit"]})
    assert b"-" + first["commit"].encode() in later
    with pytest.raises(RefusedError) as refused:
        _call(repository.bundle, root, **{"from": "main"})
    assert refused.value.code == "conflict"


@pytest.mark.parametrize("revision", ["--output=x", "-x", "a b", "a\nb", "x" * 300, ":/first"])
def test_a_revision_is_never_an_option(root: Path, revision: str) -> None:
    with pytest.raises(RefusedError) as refused:
        _call(repository.diff, root, form="json", **{"from": revision})
    assert refused.value.code == "invalid"


def test_a_folder_inside_another_repository_is_none_itself(root: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    for operation in (repository.diff, repository.commit, repository.bundle):
        with pytest.raises(RefusedError) as refused:
            _call(operation, inner, form="json", message="x")
        assert refused.value.code == "not_a_repository"


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_broken_repository_is_refused_in_gits_words(root: Path, damage: str) -> None:
    (root / "a").write_text("1\n")
    _call(repository.commit, root, message="one")
    (root / "a").write_text("2\n")
    _call(repository.commit, root, message="two")
    for path in (root / ".git" / "objects").glob("??/*"):
        kind = ["git", "cat-file", "-t", path.parent.name + path.name]
        if subprocess.run(kind, cwd=root, capture_output=True, check=True).stdout == b"blob\n":
            path.chmod(0o644)
            path.unlink() if damage == "missing" else path.write_bytes(b"x")
    sink = io.BytesIO()
    with pytest.raises(RefusedError, match="git bundle: ") as refused:
        repository.bundle(root, {}, Answer(sink))
    assert refused.value.code == "broken_repository"
    assert sink.getvalue() == b"", "nothing may be taken for a bundle"


def _lose(root: Path, revision: str) -> str:
    """Remove the object that a revision names from the repository; return its id."""
    found = subprocess.run(["git", "rev-parse", revision], cwd=root, capture_output=True, text=True, check=True)
    name = found.stdout.strip()
    path = root / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.unlink()
    return name


def _with_a_long_diff(root: Path, size: int) -> str:
    """Return the id of a lost blob at the end of a diff that has printed `size` bytes of text before it."""
    (root / "a").write_text("x" * 79 + "\n")
    (root / "z").write_text("old\n")
    _call(repository.commit, root, message="one")
    (root / "a").write_text(("y" * 79 + "\n") * (size // 80))
    (root / "z").write_text("new\n")
    return _lose(root, "HEAD:z")


def test_a_failure_after_pieces_of_output_is_refused_too(root: Path) -> None:
    lost = _with_a_long_diff(root, 3 * PIECE_BYTES)
    for asked in ({"form": "text"}, {"form": "patch"}, {"form": "json"}):
        sink = io.BytesIO()
        with pytest.raises(RefusedError, match=lost) as refused:
            repository.diff(root, asked, Answer(sink))
        assert (refused.value.code, sink.getvalue()) == ("broken_repository", b"")


def test_what_is_too_large_to_hold_back_breaks_off(root: Path) -> None:
    _with_a_long_diff(root, HELD_BYTES + PIECE_BYTES)
    sink = io.BytesIO()
    with pytest.raises(RefusedError):
        repository.diff(root, {"form": "text"}, Answer(sink))
    assert len(sink.getvalue()) > HELD_BYTES


def test_a_commit_that_is_lost_is_not_taken_for_none(root: Path) -> None:
    (root / "a").write_text("1\n")
    _call(repository.commit, root, message="one")
    lost = _lose(root, "HEAD")
    for operation, asked in (
        (repository.diff, {"form": "json"}),
        (repository.diff, {"form": "patch", "from": "HEAD"}),
        (repository.commit, {"message": "two"}),
        (repository.bundle, {}),
    ):
        with pytest.raises(RefusedError, match=lost) as refused:
            _call(operation, root, **asked)
        assert refused.value.code == "broken_repository"


@pytest.mark.parametrize("text", ["", "\0" * 41, "ref: nothing here\n"])
def test_a_branch_that_is_broken_is_not_taken_for_none(root: Path, text: str) -> None:
    """A machine that stopped at the wrong moment leaves an empty file or zeros."""
    (root / "a").write_text("1\n")
    _call(repository.commit, root, message="one")
    (root / ".git" / "refs" / "heads" / "main").write_text(text)
    for operation, asked in (
        (repository.diff, {"form": "json"}),
        (repository.commit, {"message": "two"}),
        (repository.bundle, {}),
    ):
        with pytest.raises(RefusedError, match="branch that is broken") as refused:
            _call(operation, root, **asked)
        assert refused.value.code == "broken_repository"


def test_a_commit_that_never_was_is_not_found(root: Path) -> None:
    (root / "a").write_text("1\n")
    _call(repository.commit, root, message="one")
    for revision in ("1" * 40, "no-such", "HEAD~9"):
        with pytest.raises(RefusedError, match="no commit") as refused:
            _call(repository.diff, root, form="json", **{"from": revision})
        assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    "place", [".gitignore", "below/.gitattributes", ".git/info/exclude", ".git/index", "below/.git"]
)
def test_a_pipe_that_git_would_wait_for_is_refused_by_name(root: Path, place: str) -> None:
    (root / "below").mkdir()
    (root / place).unlink(missing_ok=True)
    os.mkfifo(root / place)
    for operation, asked in ((repository.diff, {"form": "json"}), (repository.commit, {"message": "one"})):
        with pytest.raises(RefusedError, match=f"{place} is a pipe"):
            _call(operation, root, **asked)
    os.mkfifo(root / "other")
    (root / "file").touch()
    (root / place).unlink()
    if place.startswith("below"):
        assert _call(repository.commit, root, message="one")[0]["created"], "other pipes are nothing to git"


@pytest.mark.parametrize("place", [".git/info/exclude", ".gitignore"])
def test_a_link_to_a_pipe_is_refused_alike(root: Path, place: str) -> None:
    os.mkfifo(root / "pipe")
    (root / place).unlink(missing_ok=True)
    (root / place).symlink_to(root / "pipe")
    with pytest.raises(RefusedError, match=f"{place} is a pipe"):
        _call(repository.commit, root, message="one")
    (root / place).unlink()
    (root / place).symlink_to(root / "nowhere")
    (root / "file").touch()
    assert _call(repository.commit, root, message="one")[0]["created"]


def test_a_file_of_terabytes_is_not_read(root: Path) -> None:
    with (root / "big").open("wb") as file:
        file.truncate(repository.MAX_READ_BYTES + 1)
    for operation, asked in ((repository.diff, {"form": "json"}), (repository.commit, {"message": "one"})):
        with pytest.raises(RefusedError, match="commit or ignore large ones") as refused:
            _call(operation, root, **asked)
        assert refused.value.code == "too_large"
    (root / ".gitignore").write_text("big\n")
    assert _call(repository.diff, root, form="json")[0]["changed"] == 1


def test_a_tracked_file_that_has_grown_to_terabytes_is_not_read_either(root: Path) -> None:
    (root / "kept").write_text("small")
    _call(repository.commit, root, message="one")
    with (root / "kept").open("ab") as file:
        file.truncate(400 * repository.MAX_READ_BYTES)  # an hour of reading
    for operation, asked in ((repository.diff, {"form": "json"}), (repository.commit, {"message": "two"})):
        with pytest.raises(RefusedError, match="commit or ignore large ones"):
            _call(operation, root, **asked)


def test_a_broken_index_keeps_nobody_from_the_diff(root: Path) -> None:
    (root / "kept").write_text("small")
    _call(repository.commit, root, message="one")
    (root / "kept").write_text("changed")
    (root / ".git/index").write_bytes(b"no index")
    assert _call(repository.diff, root, form="json")[0]["changed"] == 1
