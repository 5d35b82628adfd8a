"""`python -m jelmore_runner.workspace FOLDER`: one line of JSON and a body in, one line of JSON and content out.

The exit status is 0 for an answer, refusals included, and 1 when the content broke off: its reader must not take it
for complete.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from jelmore_runner.workspace.answers import MAX_LINE_BYTES, Answer, RefusedError, pieces_of, refusal_of

type _Operation = Callable[[Path, Mapping[str, Any], BinaryIO, Answer], None]

_WITHOUT_BODY: Final[Mapping[str, str]] = {
    "get": "files",
    "delete": "files",
    "archive": "archives",
    "diff": "repository",
    "checkout": "repository",
    "commit": "repository",
    "bundle": "repository",
    "snapshot": "snapshots",
    "diff_turn": "snapshots",
    "restore": "snapshots",
    "archive_turn": "snapshot_archives",
    "tidy": "snapshots",
    "ports": "ports",
}
_WITH_BODY: Final[Mapping[str, str]] = {"put": "files", "extract": "archives"}
"""The module of each operation. Only that one is imported: a snapshot before each turn does not wait for the others."""


def operation_of(name: str) -> _Operation:
    """Return an operation. Raises RefusedError."""
    module = _WITHOUT_BODY.get(name) or _WITH_BODY.get(name)
    if module is None:
        raise RefusedError("unknown_operation", f"there is no operation {name!r}")
    found = getattr(import_module(f"jelmore_runner.workspace.{module}"), name)
    if name in _WITH_BODY:
        return found  # type: ignore[no-any-return]  # a function of this shape
    return lambda root, asked, _, answer: found(root, asked, answer)


def main() -> int:
    """Carry out the call on standard input; return the exit status."""
    body, stream = sys.stdin.buffer, sys.stdout.buffer
    answer = Answer(stream)
    try:
        _run(Path(sys.argv[1]), body, answer)
    except RefusedError as error:
        if answer.started:
            return 1
        for _ in pieces_of(body):  # the sender reads no answer before all of its body is taken
            pass
        answer.begin(error=error.code, message=str(error))
    stream.flush()
    return 0


def _run(root: Path, body: BinaryIO, answer: Answer) -> None:
    try:
        asked = json.loads(body.readline(MAX_LINE_BYTES))
        operation_of(str(asked["op"]))(root, asked, body, answer)
    except OSError as error:
        raise refusal_of(error, "the workspace") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RefusedError("invalid", f"the call cannot be read: {error!r}") from None


if __name__ == "__main__":
    os.umask(0o002)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is half-made is removed
    try:
        sys.exit(main())
    except SystemExit as ended:
        # Without the end of the interpreter, which writes what is buffered and may wait for a reader for ever.
        os._exit(int(ended.code or 0))
