"""The git of this machine: takes a repository's state along to a session, and a session's commits into a branch.

Nothing of the user's repository changes but the branch that is pulled: not the index, the files, or the present branch.
Its configuration, hooks and remotes stay here, because they may hold credentials.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jelmore_client.cli.blocks import printable

if TYPE_CHECKING:
    import tarfile

DEADLINE_S: Final = 600.0
_MAX_OUTPUT: Final = 600
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_OF_A_REPOSITORY: Final = frozenset(
    {
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
    }
)  # fmt: skip
"""Variables that point git at a repository: they are set when this runs in a hook, and would win over the folder."""


class LocalGitError(Exception):
    """The local repository cannot do what was asked. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository as it goes to a session. `start` is `base` or, with uncommitted changes, a commit of them on it.

    `nested` are untracked folders that are repositories of their own. They stay here: git would take only their commit.
    """

    top: Path
    branch: str
    base: str
    start: str
    nested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packed:
    """A repository in a tar.gz. `links` stay here: they lead out of it, which a workspace does not take."""

    archive: Path
    links: tuple[str, ...]


def top_of(folder: Path) -> Path:
    """Return the top of the repository that `folder` is in. Raises LocalGitError."""
    if not folder.is_dir():
        raise LocalGitError(f"{folder} is neither a folder nor an https:// URL of a git repository")
    try:
        return Path(run(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
    except LocalGitError as error:
        raise LocalGitError(f"{folder} is not in the work tree of a git repository ({error})") from None


def snapshot(folder: Path) -> Snapshot:
    """Return the state of the repository around `folder`, its uncommitted and new files in a commit of their own.

    Files that the repository ignores are left out. The commit belongs to no branch. Raises LocalGitError.
    """
    top = top_of(folder)
    base = _commit(top, "HEAD")
    if base is None:
        raise LocalGitError(f"{top} has no commit yet; make one with 'git commit', then run this again")
    branch = _output(top, "symbolic-ref", "--quiet", "--short", "HEAD") or "detached"
    others = run(top, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    nested = tuple(name.rstrip("/") for name in others if name.endswith("/"))
    tree = _tree_of_everything(top, nested)
    if tree == run(top, "rev-parse", f"{base}^{{tree}}").strip():
        return Snapshot(top, branch, base, base, nested)
    message = "Uncommitted changes at the start of the session"
    start = run(top, "commit-tree", tree, "-p", base, "-m", message, more=_identity(top)).strip()
    return Snapshot(top, branch, base, start, nested)


def _tree_of_everything(top: Path, without: Sequence[str]) -> str:
    """Return the tree of the files as they are, written with a copy of the index."""
    import tempfile

    index = top / run(top, "rev-parse", "--git-path", "index").removesuffix("\n")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "index")
        if index.exists():
            shutil.copyfile(index, copy)
        more = {"GIT_INDEX_FILE": str(copy)}
        run(top, "add", "--all", "--", ".", *(f":(exclude,literal){name}" for name in without), more=more)
        return run(top, "write-tree", more=more).strip()


def _identity(top: Path) -> Mapping[str, str]:
    if _output(top, "var", "GIT_COMMITTER_IDENT") and _output(top, "var", "GIT_AUTHOR_IDENT"):
        return {}
    return {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Jelmore"), ("EMAIL", "jelmore@jelmore.invalid"))
    }


@contextmanager
def packed(state: Snapshot) -> Iterator[Packed]:
    """Yield a tar.gz of a fresh repository with the snapshot checked out. Raises LocalGitError."""
    import tarfile
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fresh, archive = Path(folder, "repository"), Path(folder, "repository.tar.gz")
        form = run(state.top, "rev-parse", "--show-object-format").strip()
        run(Path(folder), "init", "--quiet", "--template=", f"--object-format={form}", str(fresh))
        target = f"refs/heads/{state.branch}"
        receive = "git -c receive.shallowUpdate=true -c receive.denyCurrentBranch=ignore receive-pack"
        run(
            state.top, "-c", "push.recurseSubmodules=no", "push", "--quiet",
            "--no-verify", "--no-signed", f"--receive-pack={receive}", str(fresh), f"{state.start}:{target}",
        )  # fmt: skip
        run(fresh, "symbolic-ref", "HEAD", target)
        run(fresh, "reset", "--quiet", "--hard", "HEAD", more={"GIT_LFS_SKIP_SMUDGE": "1"})
        links = _links_out(fresh)
        for name in links:
            run(fresh, "update-index", "--skip-worktree", "--", name)  # else it would come back as deleted
            (fresh / name).unlink()
        with tarfile.open(archive, mode="w:gz", compresslevel=1) as tar:
            tar.add(fresh, arcname=".", filter=_without_owner)
        yield Packed(archive, links)


def _links_out(fresh: Path) -> tuple[str, ...]:
    """Return the symbolic links that lead to an absolute path, or out of the repository."""
    staged = (each.split("\t", 1) for each in run(fresh, "ls-files", "--stage", "-z").split("\0") if each)
    links = (name for mode, name in staged if mode.startswith("120000 "))
    return tuple(name for name in links if leads_out(name, str((fresh / name).readlink())))


def leads_out(name: str, target: str) -> bool:
    """Return whether a symbolic link of this name leads to an absolute path, or out of the folder that names it."""
    reached = os.path.normpath(os.path.join(os.path.dirname(name), target))  # noqa: PTH118, PTH120 - not of this disk
    return target.startswith("/") or "\\" in target or reached == ".." or reached.startswith("../")


def _without_owner(entry: "tarfile.TarInfo") -> "tarfile.TarInfo":
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


# --- back


def has(top: Path, commit: str) -> bool:
    """Return whether a branch or tag of the repository contains `commit`: a bundle may then leave it out."""
    return _COMMIT.fullmatch(commit) is not None and bool(
        _output(top, "for-each-ref", "--count=1", "--contains", commit)
    )


def knows(top: Path, commit: str) -> bool:
    """Return whether the repository has `commit`."""
    return _COMMIT.fullmatch(commit) is not None and _commit(top, commit) is not None


def check_branch(top: Path, branch: str) -> None:
    """Raise LocalGitError unless `branch` can be the name of a branch."""
    if branch.startswith("-") or _output(top, "check-ref-format", f"refs/heads/{branch}") is None:
        raise LocalGitError(f"{branch!r} cannot be the name of a branch; 'jelmore pull SESSION BRANCH' takes another")


def fetch(top: Path, bundle: Path, branch: str) -> str:
    """Bring the HEAD of a bundle into `branch`, and return its commit. May run twice.

    Only moves the branch forward: raises LocalGitError when it has commits that the bundle has not, or is checked out.
    """
    wanted = f"HEAD:refs/heads/{branch}"
    options = (
        "--no-progress",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
    )
    try:
        run(top, "-c", "fetch.fsckObjects=true", "fetch", *options, str(bundle), wanted)
    except LocalGitError as error:
        raise LocalGitError(_refusal(str(error), branch)) from None
    commit = _commit(top, f"refs/heads/{branch}")
    if commit is None:
        raise LocalGitError(f"git fetched the bundle, but there is no branch {branch}")
    return commit


_MISSING_COMMITS: Final = (
    "prerequisite",
    "necessary objects",
    "Could not read",
    "unresolved delta",
    "parents of commit",
)


def _refusal(words: str, branch: str) -> str:
    another = "'jelmore pull SESSION BRANCH' takes another name"
    if "non-fast-forward" in words:
        return (
            f"the branch {branch} has commits that the session does not have, and is left unchanged; {another}, "
            f"'git branch -D {branch}' deletes this one"
        )
    if "refusing to fetch into" in words:
        return (
            f"the branch {branch} is checked out, and is left unchanged; switch to another branch first, or {another}"
        )
    if any(sign in words for sign in _MISSING_COMMITS):
        return f"this repository lacks commits that the session began with; 'git fetch' your remote first ({words})"
    return words


# --- git


def run(folder: Path, *arguments: str, more: Mapping[str, str] | None = None) -> str:
    """Return what git prints. Raises LocalGitError with its last words, or when git is missing or takes too long."""
    import subprocess

    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    environment = {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(more or {})}
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands; names of branches are checked
            ["git", "--no-pager", "-c", "core.hooksPath=/dev/null", *arguments],  # noqa: S607 - the user's own git
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except FileNotFoundError:
        raise LocalGitError("git is not installed; install it, then run this again") from None
    except subprocess.TimeoutExpired:
        raise LocalGitError(f"git {arguments[0]} did not end within {DEADLINE_S:.0f} s") from None
    if done.returncode:
        words = printable(done.stderr.decode("utf-8", "replace")).strip()[-_MAX_OUTPUT:]
        raise LocalGitError(f"git: {words or f'exit code {done.returncode}'}")
    return os.fsdecode(done.stdout)


def _output(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, None when it refuses."""
    try:
        return run(folder, *arguments).strip()
    except LocalGitError:
        return None


def _commit(top: Path, revision: str) -> str | None:
    return _output(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
