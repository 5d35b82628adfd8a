"""The event stream over all sessions: `jelmore events`."""

from typing import Annotated

import typer

from jelmore_client.cli.app import OK, AsJson, command, connect
from jelmore_client.cli.blocks import printable
from jelmore_client.cli.printing import print_json, short


@command("events")
def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until Ctrl-C.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Only events with a higher position.")] = 0,
    kinds: Annotated[list[str] | None, typer.Option("--type", help="Only these, such as 'session.*'.")] = None,
    as_json: AsJson = False,
) -> int:
    """Print the events of all sessions that the key may see."""
    with connect() as client:
        read = client.events.stream if follow else client.events.list
        for event in read(after=after, types=kinds):
            if as_json:
                print_json(event.model_dump(mode="json"))
            else:
                at = event.timestamp.isoformat(timespec="milliseconds")
                print(printable(f"{at}  {short(event.session_id)}  {event.event_type}"), flush=True)  # noqa: T201
    return OK
