"""What Git LFS keeps outside of a repository's history: a bundle of commits has only the pointers to it."""

import re
from pathlib import Path
from typing import Final

from jelmore_client.cli import local_git
from jelmore_client.cli.local_git import LocalGitError

_MAX_FILES: Final = 500
_OID: Final = re.compile(r"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)


def without_content(top: Path, start: str, commit: str) -> list[str]:
    """Return the files that a pulled commit changed since `start` and whose content is not on this machine.

    At most the first 500 changed files are looked at. A repository without LFS costs one search of its attributes.
    """
    try:
        local_git.run(top, "grep", "--quiet", "filter=lfs", commit, "--", ":(top,glob)**/.gitattributes")
    except LocalGitError:
        return []
    changed = local_git.run(top, "diff", "--name-only", "-z", "--no-renames", "--diff-filter=AM", start, commit)
    names = [name for name in changed.split("\0") if name][:_MAX_FILES]
    return [name for name in names if _is_missing(top, commit, name)]


def _is_missing(top: Path, commit: str, name: str) -> bool:
    try:
        found = local_git.run(
            top, "grep", "--no-color", "-h", "-E", "^oid sha256:", commit, "--", f":(top,literal){name}"
        )
    except LocalGitError:
        return False
    oid = _OID.search(found)
    if oid is None:
        return False
    common = top / local_git.run(top, "rev-parse", "--git-common-dir").strip()
    return not (common / "lfs" / "objects" / oid[1][:2] / oid[1][2:4] / oid[1]).exists()
