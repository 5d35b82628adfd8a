"""Git in the workspace: what changed, a commit, and a bundle to take away. Runs no hook and contacts nobody.

A repository's own configuration may name filters; they run as the agent, as they do when the agent itself calls git.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from jelmore_runner.workspace.answers import Answer, RefusedError
from jelmore_runner.workspace.git_commands import Git, answer_diff

MAX_READ_BYTES: Final = 4 * 1024**3
_EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


# --- what changed


def diff(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with what changed since a commit, uncommitted and new files included; see `answer_diff`."""
    with _snapshot(root) as git:
        base = _base(git, asked.get("from") or "HEAD")
        answer_diff(git, asked["form"], ("--cached", base), answer, base=base, head=git.head())


@contextmanager
def _snapshot(root: Path) -> Iterator[Git]:
    """Yield git with an index of its own that holds everything in the workspace, new files included."""
    Git(root).check()
    with tempfile.TemporaryDirectory() as folder:
        git, own = Git(root, {"GIT_INDEX_FILE": f"{folder}/index"}), Git(root)
        if git.head():
            git.read("read-tree", "HEAD")
        try:
            if git.head():
                _mark(git, "--skip-worktree", _left_alone(own, present=False) & _tracked(git))
            _check_size(own)  # it knows without reading them which files have changed
        except RefusedError as error:
            if error.code == "too_large":
                raise
            _check_size(git, "--others")  # the repository's index is broken or locked
        git.run("add", "-A", "--", ".", ":(exclude,top,glob).jelmore-upload-*")
        yield git


def _left_alone(git: Git, *, present: bool) -> set[str]:
    """Return the tracked files that git leaves alone (skip-worktree), of those that are there or are not.

    Such are the links that `jelmore run --repo` does not bring along: that they are missing is no deletion. Where
    something was put in the place of one, git would not look at it.
    """
    entries = git.run("ls-files", "-z", "-t").split("\0")
    names = {entry[2:] for entry in entries if entry.startswith("S ")}
    return {name for name in names if os.path.lexists(git.root / name) is present}


def _tracked(git: Git) -> set[str]:
    return set(git.run("ls-files", "-z").split("\0"))


def _mark(git: Git, how: str, names: set[str]) -> None:
    if names:
        git.run("update-index", how, "-z", "--stdin", given="\0".join(sorted(names)).encode("utf-8", "surrogateescape"))


def _check_size(git: Git, *kinds: str) -> None:
    """Raise RefusedError when git would read more than a caller waits for, such as a sparse file of terabytes."""
    size = 0
    names = git.run("ls-files", "-z", *(kinds or ("--others", "--modified")), "--exclude-standard").split("\0")
    for name in set(names) - {""}:
        with suppress(OSError):
            size += os.lstat(git.root / name).st_size
    if size > MAX_READ_BYTES:
        raise RefusedError(
            "too_large", f"files of {size} bytes have changed, of at most {MAX_READ_BYTES}: commit or ignore large ones"
        )


def _base(git: Git, wanted: str) -> str:
    """Return the commit to compare with; without any, the empty tree stands for HEAD. Raises RefusedError."""
    commit = git.commit_of(wanted)
    if commit is None and wanted == "HEAD":
        return _EMPTY_TREE
    if commit is None:
        raise RefusedError("not_found", f"from: there is no commit {wanted!r} in the workspace")
    return commit


# --- in


def checkout(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Check out the commit that HEAD names into a workspace that has only its repository. May run twice."""
    git = Git(root)
    git.check()
    git.run("reset", "-q", "--hard", "HEAD", more={"GIT_LFS_SKIP_SMUDGE": "1"})
    head = git.commit_of("HEAD")
    if head != asked["commit"]:
        raise RefusedError("git", "the workspace has another commit than was fetched")
    answer.begin(commit=head)


# --- out


def commit(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Commit everything in the workspace. Without changes, the answer is the present commit."""
    git = Git(root)
    git.check()
    before = git.head()
    _mark(git, "--no-skip-worktree", _left_alone(git, present=True))
    _check_size(git)
    git.run("add", "-A", "--", ".", ":(exclude,top,glob).jelmore-upload-*")
    if before is not None and not git.run("status", "--porcelain", "--untracked-files=no").strip():
        answer.begin(commit=before, created=False)
        return
    git.run("commit", "-q", "--no-verify", "-F", "-", given=asked["message"].encode(), more=_identity(git, asked))
    answer.begin(commit=git.head(), created=True)


def _identity(git: Git, asked: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that name author and committer."""
    found: dict[str, str] = {}
    try:
        git.run("config", "user.email")
    except RefusedError:  # nobody is configured
        name, email = "Jelmore agent", "agent@jelmore.invalid"
        for who in ("AUTHOR", "COMMITTER"):
            found |= {f"GIT_{who}_NAME": name, f"GIT_{who}_EMAIL": email}
    if author := asked.get("author"):
        found |= {"GIT_AUTHOR_NAME": author["name"], "GIT_AUTHOR_EMAIL": author["email"]}
    return found


MAX_SHALLOW: Final = 1000


def _shallow(git: Git) -> list[str]:
    """Return the commits at which a shortened history begins, one more than `MAX_SHALLOW` at most."""
    path = Path(git.run("rev-parse", "--path-format=absolute", "--git-path", "shallow").strip())
    try:
        with path.open("rb") as file:
            lines = [file.readline(100) for _ in range(MAX_SHALLOW + 1)]
    except OSError:
        return []
    return [line.decode("ascii", "replace").strip() for line in lines if line]


def bundle(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with a git bundle of HEAD, without what `from` reaches already."""
    git = Git(root)
    git.check()
    head = git.head()
    if head is None:
        raise RefusedError("conflict", "the repository has no commit")
    without = [] if not asked.get("from") else ["--not", _base(git, asked["from"])]
    if without and not git.run("rev-list", "--max-count=1", head, *without).strip():
        raise RefusedError("conflict", "there is no commit after `from`")
    git.stream(
        "bundle",
        "create",
        "--quiet",
        "-",
        "HEAD",
        *without,
        answer=answer,
        kind="bundle",
        commit=head,
        shallow=_shallow(git),
    )
