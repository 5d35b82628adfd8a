"""Run one prompt on many repositories, a session each, and collect the results from the event stream.

    python examples/fan_out.py --prompt "Summarize {repository}" https://github.com/a/b https://github.com/c/d

Needs JELMORE_URL and JELMORE_KEY. Prints a JSON object per repository, in the order in which they finish. Creates wait
for a free slot; a broken stream is continued at its last position, so nothing is missed.
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


def create(http: httpx.Client, repository: str, prompt: str, run: str) -> str:
    """Return the id of a new session; wait while all slots are taken."""
    body = {
        "query": prompt.format(repository=repository),
        "title": repository,
        "user_id": run,
        "metadata": {"repository": repository},
    }
    while True:
        answer = http.post("/api/v1/sessions", params={"wait": "0"}, json=body)
        if answer.status_code in {429, 503}:
            time.sleep(float(answer.headers.get("Retry-After", "5")))
            continue
        answer.raise_for_status()
        return str(answer.json()["id"])


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
    parser.add_argument("repositories", nargs="+")
    chosen = parser.parse_args()
    run = f"fan-out-{uuid4()}"
    key = {"X-API-Key": os.environ["JELMORE_KEY"]}
    with httpx.Client(base_url=os.environ["JELMORE_URL"], headers=key, timeout=60) as http:
        waiting: dict[str, str] = {}
        left = list(chosen.repositories)
        slots = http.get("/api/v1/sessions/stats").raise_for_status().json()["slots"]
        ahead = max(1, slots["total"] - slots["used"])

        def start() -> None:
            repository = left.pop(0)
            waiting[create(http, repository, chosen.prompt, run)] = repository

        first = int(http.get("/api/v1/events", params={"limit": "1"}).raise_for_status().json()["newest"])
        while left and len(waiting) < ahead:
            start()
        failed = False
        for event in events(http, run, first):
            repository = waiting.pop(event["session_id"], None)
            if repository is None:
                continue
            succeeded = event["event_type"] == "command.executed"
            failed |= not succeeded
            result = event["payload"].get("result")
            print(json.dumps({"repository": repository, "event": event["event_type"], "result": result}), flush=True)
            http.delete(f"/api/v1/sessions/{event['session_id']}")
            if left:
                start()
            if not waiting:
                break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
