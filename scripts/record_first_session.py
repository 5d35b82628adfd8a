"""Record the first session of the README against a running Jelmore and write docs/first-session.svg.

Start `make run` in another terminal, then: `. .jelmore/env && .venv/bin/python scripts/record_first_session.py`.
The picture shows the actual output of the commands, without the waiting times.
"""

import json
import os
import re
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

PICTURE: Final = Path(__file__).resolve().parent.parent / "docs" / "first-session.svg"
WIDTH: Final = 104
DEADLINE_S: Final = 60.0


class Recorder:
    """Calls the API as in the README and prints each command with its response."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self.console = Console(record=True, width=WIDTH, force_terminal=True, file=Path(os.devnull).open("w"))  # noqa: SIM115

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Return the JSON response of one call."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Key": self._key, "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - the user's own URL
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310
            return json.load(answer)

    def show(self, command: str, answer: object) -> None:
        """Print a command and its output."""
        self.console.print(Text.assemble(("$ ", "bold green"), (command, "bold")), soft_wrap=True)
        text = answer if isinstance(answer, str) else json.dumps(answer, separators=(",", ":"))
        self.console.print(Text(text, "cyan"))
        self.console.print()


def record(url: str, key: str) -> Console:
    """Run the first session and return the console that recorded it. Raises TimeoutError and urllib's errors."""
    recorder = Recorder(url, key)
    recorder.console.print(Text("# one container per session, the real Claude Code in it, no network, no key", "dim"))
    prompt = "demo> run echo hello from $(whoami) in $(pwd)"
    made = recorder.call("/api/v1/sessions", {"query": prompt})
    sessions = f"/api/v1/sessions/{made['id']}"
    recorder.show(
        f'jelmore $JELMORE_URL/api/v1/sessions -d \'{{"query": "{prompt}"}}\'',
        {"id": made["id"], "status": made["status"]},
    )
    deadline = time.monotonic() + DEADLINE_S
    while not (pending := recorder.call(f"{sessions}/permissions")["pending"]):
        if time.monotonic() > deadline:
            raise TimeoutError("the session never asked for a permission")
        time.sleep(0.2)
    recorder.show("jelmore $S/permissions | jq -r '.pending[0].title'", str(pending[0]["title"]))
    answered = recorder.call(f"{sessions}/permissions/{pending[0]['request_id']}", {"decision": "allow"})
    request = str(pending[0]["request_id"])
    recorder.show(
        f"jelmore $S/permissions/{request[:8]}… -d '{{\"decision\": \"allow\"}}' | jq -c '{{seq}}'",
        {"seq": answered["seq"]},
    )
    while recorder.call(sessions)["waiting_for"] != "prompt":
        if time.monotonic() > deadline:
            raise TimeoutError("the first turn never ended")
        time.sleep(0.2)
    recorder.show("jelmore $S/messages | jq -r '.[-1].text'", str(recorder.call(f"{sessions}/messages")[-1]["text"]))
    result = recorder.call(f"{sessions}/input?wait=30", {"input": "demo> say and again"})["result"]["result"]
    recorder.show(
        'jelmore "$S/input?wait=30" -d \'{"input": "demo> say and again"}\' | jq -r .result.result', str(result)
    )
    ended = recorder.call(sessions, method="DELETE")
    recorder.show(
        "jelmore -X DELETE $S | jq -c '{status, end_reason}'",
        {"status": ended["status"], "end_reason": ended["end_reason"]},
    )
    return recorder.console


def main() -> None:
    """Write the picture. It uses the fonts of the reader's machine, so that nothing is fetched from another host."""
    console = record(os.environ["JELMORE_URL"], os.environ["JELMORE_API_KEY"])
    svg = console.export_svg(title="a first session")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    svg = re.sub(r"\n\s*<!-- Generated with Rich .*?-->", "", svg)
    PICTURE.write_text(svg)
    print(f"wrote {PICTURE.name}")


if __name__ == "__main__":
    main()
