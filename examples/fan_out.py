"""Run one prompt on many repositories, a session each, and collect results and branches by the event stream.

    python examples/fan_out.py --prompt "Summarize the README" https://github.com/a/b https://github.com/c/d
    python examples/fan_out.py --prompt "Correct the typos" --branch jelmore/typos --credential bot https://github.com/a/b

Needs JELMORE_URL and JELMORE_API_KEY. Each session starts with its repository checked out. With --branch, what it
changed is committed and pushed to that branch; the credential stays with the gateway (docs/guides/open-a-branch.md).
Prints a JSON object per repository, in the order in which they finish. Creates wait for a free slot; a broken stream
is continued at its last position, so nothing is missed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx

FINAL = ("command.executed", "command.failed", "session.failed", "session.terminated")


class RefusedError(Exception):
    """The API refuses a request; the text says why."""


def create(http: httpx.Client, repository: str, chosen: argparse.Namespace, run: str) -> str:
    """Return the id of a new session; wait while all slots are taken. Raises RefusedError."""
    credential = {"credential": chosen.credential} if chosen.credential else {}
    body = {
        "query": chosen.prompt.replace("{repository}", repository),
        "title": repository,
        "user_id": run,
        "metadata": {"repository": repository},
        "repository": {"url": repository, **credential},
        "permission_mode": chosen.permission_mode,
    }
    while True:
        answer = http.post("/api/v1/sessions", params={"wait": "0"}, json=body)
        if answer.status_code in {429, 503}:
            time.sleep(float(answer.headers.get("Retry-After", "5")))
            continue
        if answer.is_error:
            raise RefusedError(answer.text)
        return str(answer.json()["id"])


def push(http: httpx.Client, session_id: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Commit what a session changed and push it; return its branch, or why there is none."""
    url = f"/api/v1/sessions/{session_id}"
    committed = http.post(f"{url}/commit", json={"message": chosen.message or chosen.prompt})
    if committed.is_error:
        return {"failed": committed.json()["detail"]}
    if not http.get(f"{url}/diff", params={"against": "start"}).raise_for_status().json()["changed"]:
        return {"branch": None}
    credential = {"credential": chosen.credential} if chosen.credential else {}
    pushed = http.post(f"{url}/push", json={"branch": chosen.branch, **credential}, timeout=320)
    return (
        {"failed": pushed.json()["detail"]}
        if pushed.is_error
        else {name: pushed.json()[name] for name in ("branch", "commit")}
    )


def events(http: httpx.Client, run: str, after: int) -> Iterator[dict[str, Any]]:
    """Yield the final events of this run's sessions, from a position on, for ever."""
    while True:
        params = {"user_id": run, "after": str(after), "type": list(FINAL)}
        try:
            with http.stream("GET", "/api/v1/events/stream", params=params, timeout=httpx.Timeout(60)) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        frame = json.loads(line.removeprefix("data: "))
                        if "position" in frame:
                            after = frame["position"]
                            yield frame
        except httpx.TransportError as error:
            print(f"the stream broke ({error}); continuing after {after}", file=sys.stderr)
            time.sleep(1)


def main() -> int:
    """Fan out, collect, and end the sessions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--prompt", required=True, help="{repository} is replaced")
    parser.add_argument("--branch", help="push what changed to this branch of each repository")
    parser.add_argument("--credential", help="the name of the gateway's credential for the git host")
    parser.add_argument("--message", help="of the commits; without it, the prompt")
    parser.add_argument("--permission-mode", default="acceptEdits", help="nobody is there to answer")
    parser.add_argument("repositories", nargs="+")
    chosen = parser.parse_args()
    run = f"fan-out-{uuid4()}"
    key = {"X-API-Key": os.environ["JELMORE_API_KEY"]}
    with httpx.Client(base_url=os.environ["JELMORE_URL"], headers=key, timeout=320) as http:
        waiting: dict[str, str] = {}
        left = list(chosen.repositories)
        slots = http.get("/api/v1/sessions/stats").raise_for_status().json()["slots"]
        ahead = max(1, slots["total"] - slots["used"])

        def report(repository: str, **done: Any) -> bool:
            print(json.dumps({"repository": repository, **done}), flush=True)
            return "failed" not in done

        def fill() -> bool:
            succeeded = True
            while left and len(waiting) < ahead:
                repository = left.pop(0)
                try:
                    waiting[create(http, repository, chosen, run)] = repository
                except RefusedError as error:
                    succeeded = report(repository, failed=str(error))
            return succeeded

        first = int(http.get("/api/v1/events", params={"limit": "1"}).raise_for_status().json()["newest"])
        succeeded = fill()
        for event in events(http, run, first) if waiting else ():
            repository = waiting.pop(event["session_id"], None)
            if repository is None:
                continue
            done = {"event": event["event_type"], "result": event["payload"].get("result")}
            if event["event_type"] != "command.executed":
                done["failed"] = event["event_type"]
            elif chosen.branch:
                done |= push(http, event["session_id"], chosen)
            succeeded &= report(repository, **done)
            http.delete(f"/api/v1/sessions/{event['session_id']}")
            succeeded &= fill()
            if not waiting:
                break
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
