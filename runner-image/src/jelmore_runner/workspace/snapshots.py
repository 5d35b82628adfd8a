"""The workspace as it was before a turn, in a git repository of our own beside the agent's files.

The store is below the agent's home directory and knows nothing of a repository in the workspace: no configuration,
hook, filter, index or object of that is read, only its ignore files. So nothing of a hostile repository runs, and a
workspace without a repository has snapshots too. Files of repositories further down are kept as plain files.
"""

import fcntl
import hashlib
import os
import resource
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jelmore_runner.workspace.answers import Answer, RefusedError
from jelmore_runner.workspace.git_commands import MAX_MESSAGE, Git, answer_diff

STORE: Final = ".jelmore/snapshots"
MAX_CHANGED_FILES: Final = 20_000
MAX_CHANGED_BYTES: Final = 256 * 1024**2
MAX_REPOSITORIES: Final = 32
MAX_KEPT: Final = 200
MAX_STORE_BYTES: Final = 1024**3
_LOCK_S: Final = 20.0
_GC_S: Final = 50.0
_TURNS: Final = "refs/turns"
_LEFT_OUT: Final = "refs/left-out"
_LAST: Final = "refs/last"
_BEFORE: Final = "refs/before-rewind"
_ATTRIBUTES: Final = "* -text -eol -crlf -ident -filter -working-tree-encoding\n"
"""Above every attribute of the workspace: files are kept and put back byte for byte."""

_EXCLUDED: Final = ".jelmore-upload-*\nnode_modules/\n.venv/\n__pycache__/\n"
"""What is left out where no ignore file says otherwise: the content of packages, and uploads that are not complete."""

_CONFIG: Final = """[core]
\trepositoryformatversion = 0
\tbare = false
\texcludesFile = /dev/null
\tattributesFile = /dev/null
\tlooseCompression = 1
\tfsync = none
"""


@dataclass(frozen=True, slots=True)
class _Changed:
    """What a work tree has that its index has not."""

    files: tuple[str, ...]
    bytes: int
    repositories: tuple[str, ...]  # folders with a repository of their own


@dataclass(frozen=True, slots=True)
class _Kept:
    """A tree of the workspace, and the changed files that could not be read for it."""

    tree: str
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """The refs of turns, the oldest first, and what all objects take."""

    refs: tuple[str, ...]
    bytes: int
    loose: int

    @property
    def overdue(self) -> bool:
        """Whether there is more than a tidy leaves."""
        return len(self.refs) > MAX_KEPT or self.bytes > MAX_STORE_BYTES


class Store:
    """The private repository. Use it below its lock."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder

    def git(self, below: str = "", index: str = "index", root: Path | None = None) -> Git:
        """Return git on a folder of the workspace or of `root`, with an index of its own in the store."""
        work_tree = (root or self._root) / below
        return Git(
            work_tree,
            {
                "GIT_DIR": str(self._folder),
                "GIT_WORK_TREE": str(work_tree),
                "GIT_INDEX_FILE": str(self._folder / index),
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_SYSTEM": "/dev/null",
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_LITERAL_PATHSPECS": "0",
            },
        )

    def prepare(self) -> None:
        """Make the store if it is missing, and take back what an earlier call left half-made."""
        for name in ("objects", "refs", "info"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        files = {"HEAD": "ref: refs/heads/none\n", "config": _CONFIG}
        for name, text in {**files, "info/attributes": _ATTRIBUTES, "info/exclude": _EXCLUDED}.items():
            (self._folder / name).write_text(text)
        for left in (*self._folder.glob("*.lock"), *(self._folder / "refs").rglob("*.lock")):
            left.unlink(missing_ok=True)

    def tree(self) -> _Kept:
        """Keep the workspace as it is now. Raises RefusedError `too_large` when more has changed than it may add."""
        budget = [MAX_CHANGED_FILES, MAX_CHANGED_BYTES]
        parts, left_out = self._trees("", budget)
        if len(parts) > 1:
            (self._folder / "whole").unlink(missing_ok=True)
            whole = self.git(index="whole")
            whole.run("read-tree", parts[0][1])
            for below, tree in parts[1:]:
                whole.run("read-tree", f"--prefix={below}", tree)
            tree = whole.run("write-tree").strip()
        else:
            tree = parts[0][1]
        self.git().run("update-ref", _LAST, tree)
        return _Kept(tree, tuple(left_out))

    def _trees(self, below: str, budget: list[int]) -> tuple[list[tuple[str, str]], list[str]]:
        """Return (folder, tree) of this work tree and of the repositories in it, and the files that cannot be read."""
        git = self.git(below, _index_of(below))
        changed = _changed(git)
        budget[0] -= len(changed.files)
        budget[1] -= changed.bytes
        if budget[0] < 0 or budget[1] < 0:
            raise RefusedError(
                "too_large", f"more than {MAX_CHANGED_FILES} files or {MAX_CHANGED_BYTES} bytes have changed at once"
            )
        without = [f":(exclude,top,literal){each}" for each in changed.repositories]
        left_out = list[str]()
        try:
            git.run("add", "-A", "--ignore-errors", "--", ".", *without)
        except RefusedError:
            left_out = [below + name for name in _changed(git).files]
            if not left_out:
                raise
        found = [(below, git.run("write-tree").strip())]
        for each in changed.repositories:
            if len(found) >= MAX_REPOSITORIES:
                raise RefusedError("too_large", f"the workspace has more than {MAX_REPOSITORIES} repositories")
            inner, missed = self._trees(below + each, budget)
            found += inner
            left_out += missed
        return found, left_out

    def name(self, seq: int, kept: _Kept) -> None:
        """Let a tree be that of a turn, with the names of what it should have and has not."""
        names = self.git().run("hash-object", "-w", "--stdin", given=joined(kept.left_out)).strip()
        changes = f"update {_LEFT_OUT}/{seq} {names}\nupdate {_TURNS}/{seq} {kept.tree}\n"
        self.git().run("update-ref", "--stdin", given=changes.encode())

    def measured(self) -> _Measured:
        """Count what the store has."""
        git = self.git()
        refs = git.run("for-each-ref", "--format=%(refname)", _TURNS).split()
        refs.sort(key=lambda ref: int(ref.rpartition("/")[2]))
        sizes = dict(line.split(": ") for line in git.run("count-objects", "-v").splitlines())
        return _Measured(tuple(refs), (int(sizes["size"]) + int(sizes["size-pack"])) * 1024, int(sizes["count"]))

    def left_out(self, seq: int) -> frozenset[str]:
        """Return the files that could not be read for the tree of a turn: it says nothing of them."""
        git = self.git()
        if not git.run("for-each-ref", f"{_LEFT_OUT}/{seq}"):
            return frozenset()
        return frozenset(git.run("cat-file", "blob", f"{_LEFT_OUT}/{seq}").split("\0")) - {""}

    def named(self, seq: int) -> str:
        """Return the tree of a turn. Raises RefusedError."""
        try:
            return self.git().run("rev-parse", "--verify", "--quiet", f"{_TURNS}/{seq}").strip()
        except RefusedError:
            raise RefusedError("conflict", f"there is no snapshot of the workspace before the turn of {seq}") from None


def _index_of(below: str) -> str:
    return f"index-{hashlib.sha256(below.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}" if below else "index"


def _changed(git: Git) -> _Changed:
    files, size, repositories = list[str](), 0, list[str]()
    for name in set(git.run("ls-files", "-z", "--others", "--modified", "--exclude-standard").split("\0")) - {""}:
        if name.endswith("/"):
            repositories.append(name)
            continue
        files.append(name)
        with suppress(OSError):
            size += os.lstat(git.root / name).st_size
    return _Changed(tuple(files), size, tuple(sorted(repositories)))


@contextmanager
def opened(root: Path) -> Iterator[Store]:
    """Yield the store, which no other call uses meanwhile. Raises RefusedError `conflict` when one uses it for long."""
    folder = Path(os.environ["HOME"]) / STORE
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        end = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefusedError("conflict", "another call on the snapshots of this workspace runs") from None
                time.sleep(0.02)
        store = Store(root, folder)
        store.prepare()
        yield store


@contextmanager
def _bounded_files() -> Iterator[None]:
    """Let no single file fill the disk while it is read: it may have grown since its size was counted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_CHANGED_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def snapshot(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Keep the workspace as it is now, before the turns whose inputs are events `seqs`.

    One that takes longer than `within_s` seconds, or until after `due` by the monotonic clock, is of no turn, because
    the caller did not wait for it; it makes the next one quick.
    """
    began = time.monotonic()
    with _bounded_files(), opened(root) as store:
        kept = store.tree()
        now = time.monotonic()
        in_time = now - began <= asked["within_s"] and now <= asked.get("due", now)
        for seq in asked["seqs"] if in_time else ():
            store.name(int(seq), kept)
        overdue = store.measured().overdue
        answer.begin(tree=kept.tree, in_time=in_time, left_out=len(kept.left_out), overdue=overdue)


def diff_turn(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with what changed since before the turn of event `seq`; see `answer_diff`."""
    with opened(root) as store:
        base = store.named(int(asked["seq"]))
        answer_diff(store.git(), asked["form"], (base, store.tree().tree), answer, base=base, head=None)


def restore(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Take the files of the workspace back to before the turn of event `seq`. May run twice.

    Files that are ignored now or were then stay, and so do those that could not be read then, and the commits and
    branches of a repository in the workspace. What the files were before is kept in the store as `refs/before-rewind`.
    """
    with opened(root) as store:
        wanted = store.named(int(asked["seq"]))
        unknown = store.left_out(int(asked["seq"]))
        now = store.tree().tree
        git = store.git(index="restore")
        git.run("update-ref", _BEFORE, now)
        removed, written = differences(git, now, wanted, unknown)
        git.run("read-tree", "--empty")
        git.run("read-tree", wanted)
        # The ignore files first: they say which of the other files were not of the snapshot, though they were there.
        _remove_all(root, filter(is_ignore_file, removed))
        git.run("checkout-index", "-q", "-f", "-z", "--stdin", given=joined(filter(is_ignore_file, written)))
        removed = not_ignored(git, removed)
        _remove_all(root, removed)
        git.run("checkout-index", "-q", "-f", "-z", "--stdin", given=joined(written))
        answer.begin(removed=len(removed), written=len(written))


def differences(git: Git, now: str, wanted: str, unknown: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the paths that `wanted` has not, and those that differ in it, without those that it says nothing of."""
    fields = iter(git.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", now, wanted).split("\0"))
    removed, written = list[str](), list[str]()
    for status in fields:
        if status and (name := next(fields)) not in unknown:
            (removed if status == "D" else written).append(name)
    return removed, written


def is_ignore_file(name: str) -> bool:
    """Whether git takes rules from the file."""
    return name.rpartition("/")[2] == ".gitignore"


def not_ignored(git: Git, names: Sequence[str]) -> list[str]:
    """Return those that the ignore files of now do not name. Git's status says only whether it found any."""
    with git.started("check-ignore", "--no-index", "-z", "--stdin", errors=subprocess.PIPE) as process:
        out, error = process.communicate(joined(names))
    if process.returncode not in {0, 1}:
        raise RefusedError("git", f"git check-ignore: {error.decode('utf-8', 'replace')[-MAX_MESSAGE:]}")
    ignored = frozenset(out.decode("utf-8", "surrogateescape").split("\0"))
    return [name for name in names if name not in ignored]


def joined(names: Iterable[str]) -> bytes:
    """Return names as git reads them with `-z`."""
    return b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names)


def _remove_all(root: Path, names: Iterable[str]) -> None:
    for name in names:
        _remove(root, name)


def _remove(root: Path, name: str) -> None:
    """Remove a file, and the folders that are empty then. What is a folder now is not what was compared."""
    path = root / name
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        path.unlink()
    for folder in list(path.parents)[: len(Path(name).parts) - 1]:
        try:
            folder.rmdir()
        except OSError:
            return


def tidy(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:  # noqa: ARG001 - as every operation
    """Forget the oldest snapshots beyond `MAX_KEPT`, and half of them while they take too much disk. May run twice."""
    with opened(root) as store:
        git = store.git()
        found = store.measured()
        refs = found.refs
        kept = min(MAX_KEPT, len(refs) // 2) if found.bytes > MAX_STORE_BYTES else MAX_KEPT
        gone = refs[:-kept] if kept else refs
        left = {ref.rpartition("/")[2] for ref in refs[len(gone) :]}
        lists = git.run("for-each-ref", "--format=%(refname)", _LEFT_OUT).split()
        lists = [ref for ref in lists if ref.rpartition("/")[2] not in left]
        git.run("update-ref", "--stdin", given="".join(f"delete {ref}\n" for ref in (*gone, *lists)).encode())
        if gone or found.loose > MAX_KEPT:
            with git.started("gc", "--quiet", "--prune=now") as process:
                try:
                    process.communicate(timeout=_GC_S)
                except subprocess.TimeoutExpired:
                    process.terminate()
        answer.begin(kept=len(refs) - len(gone), removed=len(gone))
