"""`python -m jelmore_runner.workspace FOLDER`: one line of JSON and a body in, one line of JSON and content out.

The exit status is 0 for an answer, refusals included, and 1 when the content broke off: its reader must not take it
for complete.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from jelmore_runner.workspace import archives, files, ports, repository, snapshots
from jelmore_runner.workspace.answers import MAX_LINE_BYTES, Answer, RefusedError, pieces_of, refusal_of

type _Operation = Callable[[Path, Mapping[str, Any], BinaryIO, Answer], None]


def _without_body(call: Callable[[Path, Mapping[str, Any], Answer], None]) -> _Operation:
    return lambda root, asked, _, answer: call(root, asked, answer)


OPERATIONS: Final[Mapping[str, _Operation]] = {
    "get": _without_body(files.get),
    "put": files.put,
    "delete": _without_body(files.delete),
    "archive": _without_body(archives.archive),
    "extract": archives.extract,
    "diff": _without_body(repository.diff),
    "checkout": _without_body(repository.checkout),
    "commit": _without_body(repository.commit),
    "bundle": _without_body(repository.bundle),
    "snapshot": _without_body(snapshots.snapshot),
    "diff_turn": _without_body(snapshots.diff_turn),
    "restore": _without_body(snapshots.restore),
    "tidy": _without_body(snapshots.tidy),
    "ports": _without_body(ports.ports),
}


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
        operation = OPERATIONS.get(asked["op"])
        if operation is None:
            raise RefusedError("unknown_operation", f"there is no operation {asked['op']!r}")
        operation(root, asked, body, answer)
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
