"""Git in the workspace: what changed, a commit, and a bundle to take away. Runs no hook and contacts nobody.

A repository's own configuration may name filters; they run as the agent, as they do when the agent itself calls git.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from jelmore_runner.workspace.answers import PIECE_BYTES, Answer, RefusedError

MAX_DIFF_FILES: Final = 5000
MAX_MESSAGE: Final = 500
_EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_REVISION: Final = re.compile(r"(?!-)[A-Za-z0-9._/@^~{}+-]{1,256}")
_CONFIG: Final = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "protocol.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "commit.gpgSign": "false",
    "core.quotePath": "false",
    "diff.suppressBlankEmpty": "false",
    "diff.context": "3",
    "diff.interHunkContext": "0",
}
# The form of a diff, whatever the repository's configuration asks for: readers rely on it.
_DIFF: Final = (
    "diff", "--cached", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--submodule=short",
    "--ignore-submodules=none", "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null", "-M",
)  # fmt: skip


class _Git:
    """Git commands in one workspace. `index` names another index file than the repository's own."""

    def __init__(self, root: Path, index: str | None = None) -> None:
        self.root = root
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CEILING_DIRECTORIES": str(root.parent),
            "GIT_CONFIG_COUNT": str(len(_CONFIG)),
            **{f"GIT_CONFIG_KEY_{at}": key for at, key in enumerate(_CONFIG)},
            **{f"GIT_CONFIG_VALUE_{at}": value for at, value in enumerate(_CONFIG.values())},
            **({} if index is None else {"GIT_INDEX_FILE": index}),
        }

    def run(self, *arguments: str, given: bytes = b"", more: Mapping[str, str] | None = None) -> str:
        """Return what the command prints. Raises RefusedError with its last words."""
        with self.started(*arguments, more=more, errors=subprocess.PIPE) as process:
            out, error = process.communicate(given)
        if process.returncode:
            words = error.decode("utf-8", "replace").strip()[-MAX_MESSAGE:]
            raise RefusedError("git", f"git {arguments[0]}: {words or process.returncode}")
        return out.decode("utf-8", "surrogateescape")

    def started(
        self, *arguments: str, more: Mapping[str, str] | None = None, errors: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[bytes]":
        """Return the running command, with pipes for its input and output."""
        return subprocess.Popen(  # noqa: S603 - fixed commands; revisions are checked
            ["git", "--no-pager", *arguments],  # noqa: S607 - PATH is the agent's own
            cwd=self.root,
            env={**self._environment, **(more or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def commit_of(self, revision: str) -> str | None:
        """Return the commit that a revision names, None when there is none."""
        if not _REVISION.fullmatch(revision):
            raise RefusedError("invalid", "from: is not a commit, a branch or a tag")
        try:
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}").strip()
        except RefusedError:
            return None

    def check(self) -> None:
        """Raise RefusedError unless the workspace is the top of a repository."""
        if not (self.root / ".git").exists():
            raise RefusedError("not_a_repository", "the workspace is not a git repository")
        self.run("rev-parse", "--git-dir")


# --- what changed


def diff(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with what changed since a commit, uncommitted and new files included.

    `form` is `json` for statistics by file, `text` to read, or `patch` to apply: only that has content of binary files.
    """
    with _snapshot(root) as git:
        base = _base(git, asked.get("from") or "HEAD")
        if asked["form"] == "json":
            answer.begin(**_statistics(git, base), base=base, head=git.commit_of("HEAD"))
            return
        binary = [] if asked["form"] == "text" else ["--binary"]
        with git.started(*_DIFF, *binary, base) as process:
            assert process.stdin is not None  # noqa: S101 - pipes were asked for
            assert process.stdout is not None  # noqa: S101
            process.stdin.close()
            answer.begin(kind="patch", base=base, head=git.commit_of("HEAD"))
            while piece := process.stdout.read(PIECE_BYTES):
                answer.write(piece)
        if process.returncode:
            raise OSError("git diff failed")


@contextmanager
def _snapshot(root: Path) -> Iterator[_Git]:
    """Yield git with an index of its own that holds everything in the workspace, new files included."""
    _Git(root).check()
    with tempfile.TemporaryDirectory() as folder:
        git = _Git(root, index=f"{folder}/index")
        if git.commit_of("HEAD"):
            git.run("read-tree", "HEAD")
        git.run("add", "-A", "--", ".", ":(exclude,top,glob).jelmore-upload-*")
        yield git


def _base(git: _Git, wanted: str) -> str:
    """Return the commit to compare with; without any, the empty tree stands for HEAD. Raises RefusedError."""
    commit = git.commit_of(wanted)
    if commit is None and wanted == "HEAD":
        return _EMPTY_TREE
    if commit is None:
        raise RefusedError("not_found", f"from: there is no commit {wanted!r} in the workspace")
    return commit


def _statistics(git: _Git, base: str) -> dict[str, Any]:
    counts: dict[str, tuple[str, str]] = {}
    fields = iter(git.run(*_DIFF, "--numstat", "-z", base).split("\0"))
    for field in fields:
        if not field:
            continue
        added, deleted, path = field.split("\t", 2)
        if not path:  # a rename: its two paths follow
            next(fields)
            path = next(fields)
        counts[path] = added, deleted
    files = []
    fields = iter(git.run(*_DIFF, "--name-status", "-z", base).split("\0"))
    for status in fields:
        if not status:
            continue
        old = next(fields) if status[0] in "RC" else None
        path = next(fields)
        added, deleted = counts.get(path, ("-", "-"))
        files.append(_file(status[0], path, old, (added, deleted)))
    total = {name: sum(each[name] for each in files) for name in ("additions", "deletions")}
    return {"files": files[:MAX_DIFF_FILES], "truncated": len(files) > MAX_DIFF_FILES, "changed": len(files), **total}


_STATUS: Final = {"A": "added", "D": "deleted", "M": "modified", "R": "renamed", "C": "copied", "T": "type_changed"}


def _file(status: str, path: str, old: str | None, counts: tuple[str, str]) -> dict[str, Any]:
    binary = counts[0] == "-"
    return {
        "path": _shown(path),
        "old_path": None if old is None else _shown(old),
        "status": _STATUS.get(status, "modified"),
        "additions": 0 if binary else int(counts[0]),
        "deletions": 0 if binary else int(counts[1]),
        "binary": binary,
    }


def _shown(path: str) -> str:
    """Return a path as JSON can hold it: git allows names that are not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# --- in


def checkout(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Check out the commit that HEAD names into a workspace that has only its repository. May run twice."""
    git = _Git(root)
    git.check()
    git.run("reset", "-q", "--hard", "HEAD", more={"GIT_LFS_SKIP_SMUDGE": "1"})
    head = git.commit_of("HEAD")
    if head != asked["commit"]:
        raise RefusedError("git", "the workspace has another commit than was fetched")
    answer.begin(commit=head)


# --- out


def commit(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Commit everything in the workspace. Without changes, the answer is the present commit."""
    git = _Git(root)
    git.check()
    git.run("add", "-A", "--", ".", ":(exclude,top,glob).jelmore-upload-*")
    before = git.commit_of("HEAD")
    if before is not None and not git.run("status", "--porcelain", "--untracked-files=no").strip():
        answer.begin(commit=before, created=False)
        return
    git.run("commit", "-q", "--no-verify", "-F", "-", given=asked["message"].encode(), more=_identity(git, asked))
    answer.begin(commit=git.commit_of("HEAD"), created=True)


def _identity(git: _Git, asked: Mapping[str, Any]) -> dict[str, str]:
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


def bundle(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with a git bundle of HEAD, without what `from` reaches already."""
    git = _Git(root)
    git.check()
    head = git.commit_of("HEAD")
    if head is None:
        raise RefusedError("conflict", "the repository has no commit")
    without = [] if not asked.get("from") else ["--not", _base(git, asked["from"])]
    if without and not git.run("rev-list", "--max-count=1", head, *without).strip():
        raise RefusedError("conflict", "there is no commit after `from`")
    with git.started("bundle", "create", "--quiet", "-", "HEAD", *without) as packing:
        assert packing.stdin is not None  # noqa: S101 - pipes were asked for
        assert packing.stdout is not None  # noqa: S101
        packing.stdin.close()
        answer.begin(kind="bundle", commit=head)
        while piece := packing.stdout.read(PIECE_BYTES):
            answer.write(piece)
    if packing.returncode:
        raise OSError("git bundle failed")
