"""Write the synchronous client from the asynchronous one. `--check` only compares; `make check` runs it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).resolve().parent.parent / "client/src/jelmore_client"
HEAD: Final = (
    '"""The synchronous client. Generated from `_async.py` by scripts/generate_sync_client.py: do not edit."""'
)

REPLACEMENTS: Final = [
    (r"AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping", "Callable, Generator, Iterator, Mapping"),
    (r'^"""The asynchronous client.*"""', HEAD),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"Awaitable\[(.*?)\]\]$", r"\1]"),
    (r"\baclosing\b", "closing"),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncHTTPTransport\b", "HTTPTransport"),
    (r"\bAsync(Jelmore|Sessions|Session|Answerer)\b", r"\1"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"asyncio\.sleep", "time.sleep"),
    (r"^import asyncio\n", ""),
    (r"May be used by several tasks", "May be used by several threads"),
]


def generated() -> str:
    """Return the text of the synchronous client."""
    text = (CLIENT / "_async.py").read_text()
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return formatted(text)


def formatted(text: str) -> str:
    """Return `text` as ruff formats it, with its imports in order."""
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    name = ["--stdin-filename", str(CLIENT / "_sync.py"), "-"]
    for step in (["check", "--fix-only", "--quiet", "--select", "I"], ["format", "--quiet"]):
        text = subprocess.run([*ruff, *step, *name], input=text, text=True, check=True, capture_output=True).stdout
    return text


def main() -> int:
    """Write the file, or compare it. Returns the exit status."""
    target, text = CLIENT / "_sync.py", generated()
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        print("client/src/jelmore_client/_sync.py is out of date; run 'make client'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
