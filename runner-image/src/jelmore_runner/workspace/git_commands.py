"""Git as the helpers run it: fixed commands on one folder. Their configuration runs no hook and contacts nobody."""

import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from jelmore_runner.workspace.answers import PIECE_BYTES, Answer, RefusedError
from jelmore_runner.workspace.paths import shown

MAX_DIFF_FILES: Final = 5000
MAX_MESSAGE: Final = 500
BROKEN: Final = "broken_repository"
_LOOK_S: Final = 0.5
HELD_BYTES: Final = 8 * 1024**2
"""How much of a command's output is held back until it is known whether the command fails."""

_REVISION: Final = re.compile(r"(?!-)[A-Za-z0-9._/@^~{}+-]{1,256}")
CONFIG: Final = {
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
DIFF: Final = (
    "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--submodule=short",
    "--ignore-submodules=none", "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null", "-M",
)  # fmt: skip


class Git:
    """Git commands in one workspace. `variables` lead to another index or another repository than its own."""

    def __init__(self, root: Path, variables: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CEILING_DIRECTORIES": str(root.parent),
            "GIT_CONFIG_COUNT": str(len(CONFIG)),
            **{f"GIT_CONFIG_KEY_{at}": key for at, key in enumerate(CONFIG)},
            **{f"GIT_CONFIG_VALUE_{at}": value for at, value in enumerate(CONFIG.values())},
            **(variables or {}),
        }

    def run(self, *arguments: str, given: bytes = b"", more: Mapping[str, str] | None = None, code: str = "git") -> str:
        """Return what the command prints. Raises RefusedError `code` with its last words."""
        with self.started(*arguments, more=more, errors=subprocess.PIPE) as process:
            out, error = process.communicate(given)
        if process.returncode:
            words = _shortened(error)
            raise RefusedError(code, f"git {arguments[0]}: {words or process.returncode}")
        return out.decode("utf-8", "surrogateescape")

    def read(self, *arguments: str) -> str:
        """Return what a command prints that fails only when the repository is broken, which its refusal says."""
        return self.run(*arguments, code=BROKEN)

    def stream(self, *arguments: str, answer: Answer, **head: Any) -> None:
        """Answer with `head` and what the command prints.

        Raises RefusedError `broken_repository` with its last words when it fails. The answer begins when the command
        has printed `HELD_BYTES` or all that it prints, so that the caller mostly gets the refusal. Later, the content
        breaks off.
        """
        with tempfile.TemporaryFile() as said, self.started(*arguments, errors=said.fileno()) as process:
            assert process.stdin is not None  # noqa: S101 - pipes were asked for
            assert process.stdout is not None  # noqa: S101
            process.stdin.close()
            piece = process.stdout.read(HELD_BYTES)
            if len(piece) == HELD_BYTES:
                answer.begin(**head)
                while piece:
                    answer.write(piece)
                    piece = process.stdout.read(PIECE_BYTES)
            if process.wait():
                raise RefusedError(BROKEN, f"git {arguments[0]}: {_last_words(said) or process.returncode}")
        if not answer.started:
            answer.begin(**head)
            answer.write(piece)

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

    def head(self) -> str | None:
        """Return the last commit, None before there is one.

        Raises RefusedError when HEAD names one that is missing, or a branch that cannot be read.
        """
        commit = self.commit_of("HEAD")
        if commit is None and (named := self._named("HEAD")):
            raise RefusedError(BROKEN, f"HEAD names the commit {named}, which is missing or broken in the workspace")
        if commit is None:
            try:
                self.run(
                    "symbolic-ref", "--quiet", "HEAD"
                )  # names the branch before its first commit, not a broken one
            except RefusedError:
                raise RefusedError(BROKEN, "HEAD names a branch that is broken in the workspace") from None
        return commit

    def _named(self, revision: str) -> str:
        """Return the object that a revision names, which need not exist; empty when it names none."""
        try:
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", revision).strip()
        except RefusedError:
            return ""

    def check(self) -> None:
        """Raise RefusedError unless the workspace is the top of a repository."""
        if not (self.root / ".git").exists():
            raise RefusedError("not_a_repository", "the workspace is not a git repository")
        if pipe := pipe_for_git(self.root):
            raise RefusedError(BROKEN, f"{shown(pipe)} is a pipe, for which git would wait for ever: remove it")
        self.run("rev-parse", "--git-dir")


def pipe_for_git(root: Path) -> str | None:
    """Return the relative path of a pipe, or of a link to one, where git reads a file of its own; None without one.

    Looks for `_LOOK_S`.
    """
    until = time.monotonic() + _LOOK_S
    for top, folders, names in os.walk(root):
        here = os.path.relpath(top, root)
        inside = ".git" in here.split("/")
        for name in names:
            if (inside or name.startswith(".git")) and stat.S_ISFIFO(_mode(f"{top}/{name}")):
                return os.path.normpath(f"{here}/{name}")
        folders[:] = [each for each in folders if not (inside and each == "objects") and each != "node_modules"]
        if time.monotonic() > until:
            return None
    return None


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode  # of what a link leads to: git follows them too
    except OSError:
        return 0


def _last_words(said: BinaryIO) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - 4 * MAX_MESSAGE))
    return _shortened(said.read())


def _shortened(error: bytes) -> str:
    return error.decode("utf-8", "replace").strip()[-MAX_MESSAGE:]


def answer_diff(git: Git, form: str, compared: Sequence[str], answer: Answer, **head: Any) -> None:
    """Answer with a diff. `compared` are the arguments that say what with what.

    `form` is `json` for statistics by file, `text` to read, or `patch` to apply: only that has content of binary files.
    """
    if form == "json":
        answer.begin(**_statistics(git, compared), **head)
        return
    binary = [] if form == "text" else ["--binary"]
    git.stream(*DIFF, *binary, *compared, answer=answer, kind="patch", **head)


def _statistics(git: Git, compared: Sequence[str]) -> dict[str, Any]:
    counts: dict[str, tuple[str, str]] = {}
    fields = iter(git.read(*DIFF, "--numstat", "-z", *compared).split("\0"))
    for field in fields:
        if not field:
            continue
        added, deleted, path = field.split("\t", 2)
        if not path:  # a rename: its two paths follow
            next(fields)
            path = next(fields)
        counts[path] = added, deleted
    files = []
    fields = iter(git.read(*DIFF, "--name-status", "-z", *compared).split("\0"))
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
