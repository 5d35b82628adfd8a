"""A workspace that is a repository with changes of every kind, and with a configuration that would disguise them."""

import io
import tarfile
from pathlib import Path
from typing import Final

from tests.support.own_repository import commit, git
from tests.support.stack_client import SESSIONS, Api

BEFORE: Final = "".join(f"line {number}\n" for number in range(1, 31))
AFTER: Final = BEFORE.replace("line 3\n", "line three\n").replace("line 20\n", "")


async def with_changes(api: Api, session_id: str, folder: Path) -> str:
    """Put a changed, a new, a renamed and a binary file into the session's workspace; return the session's id."""
    git(folder, "init", "--quiet", "-b", "trunk")
    commit(folder, "first", **{"kept.py": BEFORE, "old.py": BEFORE.replace("line", "row")})
    git(folder, "mv", "old.py", 'a new "name".py')
    for name in ("diff.noprefix", "diff.mnemonicPrefix"):
        git(folder, "config", name, "true")
    git(folder, "config", "color.ui", "always")
    (folder / "kept.py").write_text(AFTER)
    (folder / "data.bin").write_bytes(b"\0\1")
    (folder / "new.html").write_text("<b>bold</b>\n\u202eevil\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    answer = await api.http.put(f"{SESSIONS}/{session_id}/files/?extract=tar.gz", content=packed.getvalue())
    assert answer.status_code == 200, answer.text
    return session_id
