"""`jelmore credentials`: what the gateway adds to calls of sessions. Values are read from the terminal or a pipe."""

from typing import TYPE_CHECKING, Annotated

import typer

from jelmore_client.cli import completing
from jelmore_client.cli.app import OK, USAGE, AsJson, command, connect
from jelmore_client.cli.printing import print_json, print_table, say
from jelmore_client.cli.secrets_typed import typed

if TYPE_CHECKING:
    from jelmore_client import Jelmore

_ACTIONS = ("list", "set", "remove", "authorize")
_FIELDS = ("name", "scope", "owner", "kind", "changed_at")


@command("credentials")
def credentials(
    action: Annotated[
        str, typer.Argument(help="list, set, remove or authorize", autocompletion=completing.words(*_ACTIONS))
    ] = "list",
    name: Annotated[
        str | None,
        typer.Argument(
            help="With set and remove, such as ANTHROPIC_API_KEY; with authorize, a route such as mcp/docs."
        ),
    ] = None,
    *,
    user: Annotated[str | None, typer.Option(help="Of the sessions with this user_id.")] = None,
    session: Annotated[str | None, typer.Option(help="Of this session.")] = None,
    as_json: AsJson = False,
) -> int:
    """Manage credentials of the deployment, a user or a session. `set` asks for the value, or reads it from a pipe."""
    with connect() as client:
        if action == "list":
            _list(client, as_json=as_json)
            return OK
        if action == "authorize" and name and session is None:
            _authorize(client, name, user)
            return OK
        if action not in {"set", "remove"} or not name or (user is not None and session is not None):
            say("error: use list, set NAME, remove NAME or authorize ROUTE, with one of --user USER and --session ID")
            return USAGE
        if action == "remove":
            client.credentials.delete(name, user_id=user, session_id=session)
            return OK
        value = typed("Value")
        if not value:
            say("error: there is no value")
            return USAGE
        client.credentials.put(name, value, user_id=user, session_id=session)
    return OK


def _list(client: "Jelmore", *, as_json: bool) -> None:
    found = [each.model_dump(mode="json") for each in client.credentials.list()]
    if as_json:
        for each in found:
            print_json(each)
    else:
        rows = [[str(each.get(field) or "-") for field in _FIELDS] for each in found]
        print_table([field.upper() for field in _FIELDS], rows)


def _authorize(client: "Jelmore", route: str, user: str | None) -> None:
    started = client.authorizations.begin(route, user_id=user)
    say(f"Open this in a browser, within ten minutes; {started.issuer} asks for your consent:")
    print(started.url, flush=True)  # noqa: T201 - to open, also when piped
    address = typer.prompt("Address of the page that you came back to (empty if it says Authorized)", "", err=True)
    if address:
        done = client.authorizations.finish(address.strip())
        say(f"authorized: {done.route}" + ("" if done.renewable else ", until its access token ends"))
