"""The event stream over all sessions: `jelmore events`."""

import time
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jelmore_client import errors
from jelmore_client.cli.app import OK, AsJson, command, connect
from jelmore_client.cli.blocks import printable
from jelmore_client.cli.printing import print_json, short
from jelmore_client.core.requests import API, Request, backoff_s
from jelmore_client.core.streams import Frame, SseDecoder

if TYPE_CHECKING:
    from jelmore_client import Jelmore


@command("events")
def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until Ctrl-C.")] = False,
    after: Annotated[int, typer.Option(help="Only events with a higher position.")] = 0,
    kinds: Annotated[list[str] | None, typer.Option("--type", help="Only these, such as 'session.*'.")] = None,
    as_json: AsJson = False,
) -> int:
    """Print the events of all sessions that the key may see."""
    with connect() as client:
        for event in _events(client, after, kinds or [], follow=follow):
            if as_json:
                print_json(event)
            else:
                line = f"{event.get('timestamp')}  {short(str(event.get('session_id')))}  {event.get('event_type')}"
                print(printable(line), flush=True)  # noqa: T201
    return OK


def _events(client: "Jelmore", after: int, kinds: list[str], *, follow: bool) -> Iterator[dict[str, Any]]:
    """Yield events; with `follow` connect again after the last one, otherwise end at the newest."""
    failures = 0
    while True:
        try:
            # Without `follow` every event is read, because only then the newest is seen to arrive.
            for frame in _frames(client, after, kinds if follow else []):
                failures = 0
                if frame.name == "event":
                    after = int(frame.data["position"])
                    if not kinds or any(fnmatch(str(frame.data.get("event_type")), kind) for kind in kinds):
                        yield frame.data
                elif frame.name == "hello":
                    newest = int(frame.data.get("newest") or 0)
                if not follow and after >= newest:
                    return
        except errors.JelmoreError as error:
            if not follow or not error.retryable:
                raise
        failures += 1
        time.sleep(backoff_s(failures))


def _frames(client: "Jelmore", after: int, kinds: list[str]) -> Iterator[Frame]:
    decoder = SseDecoder()
    params: dict[str, Any] = {"after": after, **({"type": kinds} if kinds else {})}
    for piece in client.pieces(Request("GET", f"{API}/events/stream", params=params)):
        yield from decoder.feed(piece)
