"""What happens in the workspace's git repositories, read from their own records; git itself is never run here."""

from pathlib import Path
from typing import Any, Final

MAX_PER_LOOK: Final = 20
MAX_LOG_BYTES: Final = 64 * 1024
MAX_REFERENCE_BYTES: Final = 4096


def is_git_record(path: Path) -> bool:
    """Whether a change of `path` (inside some `.git`) may mean activity, not just git's housekeeping."""
    parts = path.parts
    if ".git" not in parts or path.name.endswith(".lock"):
        return False
    inside = parts[parts.index(".git") + 1 :]
    return inside in {("HEAD",), ("logs", "HEAD"), ("packed-refs",)} or inside[:1] == ("refs",)


def repository_of(path: Path) -> Path:
    """Return the folder that holds the `.git` of `path`."""
    return Path(*path.parts[: path.parts.index(".git")])


class GitNotes:
    """Remembers how far each repository's log was read. Not thread-safe; every call may block on small reads."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._seen: dict[Path, int] = {}
        self._shown: dict[Path, tuple[str | None, str | None]] = {}

    def remember_present(self) -> None:
        """Take what is there already as told."""
        for repository in [self._workspace, *_folders(self._workspace)]:
            if (repository / ".git").is_dir():
                self._seen[repository] = _size(repository / ".git" / "logs" / "HEAD")
                self._shown[repository] = _head(repository)

    def look(self, repository: Path) -> list[dict[str, Any]]:
        """Return the `git_activity` data of what is new in `repository`, oldest first."""
        branch, head = _head(repository)
        known = repository in self._shown
        lines = self._new_log_lines(repository)
        before, self._shown[repository] = self._shown.get(repository), (branch, head)
        notes = [self._note(repository, operation, branch, new) for new, operation in lines[-MAX_PER_LOOK:]]
        if not notes and not known:
            notes = [self._note(repository, "init", branch, head)]
        elif not notes and before != (branch, head):
            notes = [self._note(repository, "checkout", branch, head)]
        return notes

    def _new_log_lines(self, repository: Path) -> list[tuple[str, str]]:
        log = repository / ".git" / "logs" / "HEAD"
        size, begin = _size(log), self._seen.get(repository, 0)
        if size < begin:
            begin = 0
        self._seen[repository] = size
        try:
            with log.open("rb") as file:
                file.seek(max(begin, size - MAX_LOG_BYTES))
                text = file.read(MAX_LOG_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        return [parsed for line in text.splitlines() if (parsed := _log_line(line))]

    def _note(self, repository: Path, operation: str, branch: str | None, head: str | None) -> dict[str, Any]:
        inside = repository.is_relative_to(self._workspace)
        place = str(repository.relative_to(self._workspace)) if inside else str(repository)
        return {"op": operation, "branch": branch, "head": head, "repository": place}


def _log_line(line: str) -> tuple[str, str] | None:
    """Return the new commit and the operation of a reflog line: `OLD NEW NAME <MAIL> TIME ZONE<tab>OPERATION: …`."""
    record, tab, message = line.partition("\t")
    words = record.split(" ")
    if not tab or len(words) < 2 or len(words[1]) < 40:  # noqa: PLR2004 - a SHA-1 or longer
        return None
    return words[1], message.partition(":")[0].split(" ")[0] or "update"


def _head(repository: Path) -> tuple[str | None, str | None]:
    git = repository / ".git"
    text = _read(git / "HEAD")
    if text is None:
        return None, None
    if not text.startswith("ref: "):
        return None, text
    reference = text.removeprefix("ref: ").strip()
    if ".." in reference or reference.startswith("/"):
        return None, None
    return reference.removeprefix("refs/heads/"), _read(git / reference) or _packed(git, reference)


def _packed(git: Path, reference: str) -> str | None:
    try:
        with (git / "packed-refs").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                commit, _, name = line.strip().partition(" ")
                if name == reference:
                    return commit
    except OSError:
        return None
    return None


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_REFERENCE_BYTES).strip() or None
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _folders(parent: Path) -> list[Path]:
    try:
        return [child for child in parent.iterdir() if child.is_dir() and not child.is_symlink()]
    except OSError:
        return []
