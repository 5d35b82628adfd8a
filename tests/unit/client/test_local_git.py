"""A repository of this machine as it is taken along, and a bundle as it comes back."""

import tarfile
from pathlib import Path

import pytest

from jelmore_client.cli import local_git
from jelmore_client.cli.contexts import ContextError
from jelmore_client.cli.local_git import LocalGitError, Snapshot
from jelmore_client.cli.local_lfs import without_content
from jelmore_client.cli.sources import source_of
from tests.support.own_repository import ENVIRONMENT, IDENTITY, commit, git, make


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return make(tmp_path / "own")


def unpacked(state: Snapshot, target: Path) -> Path:
    with local_git.packed(state) as packed, tarfile.open(packed.archive) as tar:
        tar.extractall(target, filter="data")
    return target


def looks(own: Path) -> list[str]:
    """What must stay: the branches, the index and what git thinks of the files."""
    return [git(own, *words.split()) for words in ("for-each-ref", "ls-files --stage", "status --porcelain")]


def test_a_clean_repository_goes_along_with_its_history(own: Path, tmp_path: Path) -> None:
    head = git(own, "rev-parse", "HEAD")
    (own / "ignored").write_text("x")
    state = local_git.snapshot(own)
    assert state == Snapshot(own, "trunk", head, head)
    there = unpacked(state, tmp_path / "there")
    assert git(there, "status", "--porcelain", "--branch") == "## trunk"
    assert git(there, "rev-list", "--count", "HEAD") == "2"
    assert sorted(each.name for each in there.iterdir()) == [".git", ".gitignore", "changed", "kept"]


def test_uncommitted_changes_are_one_commit_and_nothing_here_changes(own: Path, tmp_path: Path) -> None:
    (own / "changed").write_text("staged\n")
    git(own, "add", "changed")
    (own / "changed").write_text("three\n")
    (own / "new").write_text("new\n")
    (own / "kept").unlink()
    before = looks(own)
    (own / "below").mkdir()
    state = local_git.snapshot(own / "below")
    assert looks(own) == before
    there = unpacked(state, tmp_path / "there")
    assert looks(own) == before
    assert git(there, "rev-parse", "HEAD", "HEAD~") == f"{state.start}\n{state.base}"
    assert git(there, "diff", "--name-status", "HEAD~", "HEAD") == "M\tchanged\nD\tkept\nA\tnew"
    assert (there / "changed").read_text() == "three\n"
    assert git(there, "status", "--porcelain") == ""


def test_configuration_remotes_and_hooks_stay_here(own: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for hook in ("pre-push", "post-index-change", "post-checkout", "reference-transaction", "pre-commit"):
        path = own / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {ran}\n")
        path.chmod(0o755)
    (own / "new").write_text("new\n")
    git(own, "config", "remote.origin.url", "https://ann:s3cret@git.example.com/x.git")
    git(own, "config", "http.extraHeader", "Authorization: s3cret")
    there = unpacked(local_git.snapshot(own), tmp_path / "there")
    assert not ran.exists()
    assert not [path for path in there.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert not (there / ".git" / "hooks").exists()


@pytest.mark.parametrize("branch", ["master", "main", "feature/x"])
def test_any_branch_goes_along(own: Path, tmp_path: Path, branch: str) -> None:
    git(own, "checkout", "--quiet", "-b", branch)
    there = unpacked(local_git.snapshot(own), tmp_path / "there")
    assert git(there, "symbolic-ref", "--short", "HEAD") == branch


def test_a_short_history_and_no_branch(own: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{own}", "shallow")
    git(tmp_path / "shallow", "checkout", "--quiet", "--detach")
    there = unpacked(local_git.snapshot(tmp_path / "shallow"), tmp_path / "there")
    assert git(there, "rev-list", "--count", "HEAD") == "1"
    assert git(there, "status", "--porcelain", "--branch") == "## detached"


def test_a_repository_inside_of_it_stays_here(own: Path, tmp_path: Path) -> None:
    make(own / "inner")
    git(own, "init", "--quiet", "without a commit")
    (own / "new").write_text("new\n")
    state = local_git.snapshot(own)
    assert state.nested == ("inner", "without a commit")
    there = unpacked(state, tmp_path / "there")
    assert git(there, "diff", "--name-status", "HEAD~", "HEAD") == "A\tnew"


def test_links_that_lead_out_stay_here_and_do_not_come_back_as_deleted(own: Path, tmp_path: Path) -> None:
    (own / "below").mkdir()
    for name, target in {"out": "/etc/hosts", "below/up": "../../own", "fine": "kept", "below/fine": "../kept"}.items():
        (own / name).symlink_to(target)
    commit(own, "links")
    state = local_git.snapshot(own)
    with local_git.packed(state) as packed:
        assert packed.links == ("below/up", "out")
    there = unpacked(state, tmp_path / "there")
    assert not (there / "out").is_symlink()
    assert (there / "below" / "fine").read_text() == "kept\n"
    commit(there, "work", new="x\n")
    assert git(there, "diff", "--name-status", "HEAD~", "HEAD") == "A\tnew"


def pointer(oid: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 3\n"


def test_a_file_of_lfs_whose_content_is_elsewhere_is_named(own: Path) -> None:
    start = git(own, "rev-parse", "HEAD")
    assert without_content(own, start, commit(own, "no LFS here", **{"a.bin": pointer("a" * 64)})) == []
    start = commit(own, "attributes", **{".gitattributes": "*.dat filter=lfs\n", "old.bin": pointer("b" * 64)})
    here = own / ".git" / "lfs" / "objects" / "cc" / "cc"
    here.mkdir(parents=True)
    (here / ("c" * 64)).write_text("x")
    files = {"new [1].bin": pointer("d" * 64), "here.bin": pointer("c" * 64), "text": "x"}
    assert without_content(own, start, commit(own, "work", **files)) == ["new [1].bin"]


def test_without_an_identity_there_is_one(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in IDENTITY:
        monkeypatch.delenv(name)
    git(own, "config", "user.useConfigOnly", "true")
    (own / "new").write_text("new\n")
    assert git(own, "log", "-1", "--format=%an", local_git.snapshot(own).start) == "Jelmore"


def test_variables_of_a_hook_do_not_lead_elsewhere(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert local_git.snapshot(own).top == own


def test_what_cannot_go_along_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalGitError, match="neither a folder nor an https:// URL"):
        local_git.snapshot(tmp_path / "absent")
    with pytest.raises(LocalGitError, match="not in the work tree of a git repository"):
        local_git.snapshot(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(LocalGitError, match="'git commit'"):
        local_git.snapshot(tmp_path)


def test_flags_that_need_a_url_say_so() -> None:
    url = "https://git.example.com/x.git"
    assert source_of(url, "main", 1, "bot").options == {
        "repository": {"url": url, "ref": "main", "depth": 1, "credential": "bot"}
    }
    assert source_of(url, None, None, None).options == {"repository": {"url": url}}
    assert source_of(None, None, None, None).options == {}
    with pytest.raises(ContextError, match="--ref, --depth: only with --repo"):
        source_of(None, "main", 1, None)
    with pytest.raises(ContextError, match="--credential: only with an https"):
        source_of(".", None, None, "bot")


# --- back


@pytest.fixture
def there(own: Path, tmp_path: Path) -> Path:
    """A session's repository."""
    return unpacked(local_git.snapshot(own), tmp_path / "there")


def bundled(there: Path, *more: str) -> Path:
    bundle = there.parent / "work.bundle"
    git(there, "bundle", "create", "--quiet", str(bundle), "HEAD", *more)
    return bundle


def test_a_branch_is_made_and_moves_forward(own: Path, there: Path) -> None:
    base = git(own, "rev-parse", "HEAD")
    third = commit(there, "third", changed="three\n")
    assert local_git.fetch(own, bundled(there, f"^{base}"), "jelmore/x") == third
    fourth = commit(there, "fourth", changed="four\n")
    for _ in range(2):
        assert local_git.fetch(own, bundled(there), "jelmore/x") == fourth
    assert git(own, "rev-parse", "jelmore/x", "trunk") == f"{fourth}\n{base}"
    assert local_git.has(own, fourth)
    assert not local_git.has(own, "0" * 40)
    assert not local_git.has(own, "--format=x")


def test_commits_of_a_branch_are_never_overwritten(own: Path, there: Path) -> None:
    commit(there, "third", changed="three\n")
    git(own, "checkout", "--quiet", "-b", "mine")
    mine = commit(own, "mine", changed="mine\n")
    with pytest.raises(LocalGitError, match="is checked out"):
        local_git.fetch(own, bundled(there), "mine")
    git(own, "checkout", "--quiet", "trunk")
    with pytest.raises(LocalGitError, match=r"commits that the session does not have.*git branch -D mine"):
        local_git.fetch(own, bundled(there), "mine")
    assert git(own, "rev-parse", "mine") == mine


def test_a_bundle_of_another_history_says_what_is_missing(there: Path, tmp_path: Path) -> None:
    base = git(there, "rev-parse", "HEAD")
    commit(there, "third", changed="three\n")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    with pytest.raises(LocalGitError, match="lacks commits"):
        local_git.fetch(other, bundled(there, f"^{base}"), "x")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{there}", "shallow")
    with pytest.raises(LocalGitError, match="lacks commits"):
        local_git.fetch(other, bundled(tmp_path / "shallow"), "x")
    assert git(other, "for-each-ref") == ""


@pytest.mark.parametrize("branch", ["-x", "a..b", "a b", "x.lock", "@{-1}"])
def test_a_bad_name_of_a_branch_is_refused(own: Path, branch: str) -> None:
    with pytest.raises(LocalGitError, match="name of a branch"):
        local_git.check_branch(own, branch)
