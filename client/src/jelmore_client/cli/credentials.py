"""`jelmore credentials`: what the gateway adds to calls of sessions. Values are read from the terminal or a pipe."""

from typing import Annotated
from urllib.parse import quote

import typer

from jelmore_client.cli import completing
from jelmore_client.cli.app import OK, USAGE, AsJson, command, connect
from jelmore_client.cli.printing import print_json, print_table, say
from jelmore_client.cli.secrets_typed import typed

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
    from jelmore_client.core.requests import API, Request

    path, at = f"{API}/credentials", f"{API}/credentials/{quote(name or '', safe='')}"
    owner = {key: value for key, value in (("user_id", user), ("session_id", session)) if value is not None}
    with connect() as client:
        if action == "list":
            found = client.request(Request("GET", path))
            if as_json:
                for each in found:
                    print_json(each)
            else:
                rows = [[str(each.get(field) or "-") for field in _FIELDS] for each in found]
                print_table([field.upper() for field in _FIELDS], rows)
            return OK
        if action == "authorize" and name and session is None:
            started = client.request(Request("POST", f"{API}/authorizations", params=owner, json={"route": name}))
            say(f"Open this in a browser, within ten minutes; {started['issuer']} asks for your consent:")
            print(started["url"], flush=True)  # noqa: T201 - to open, also when piped
            address = typer.prompt(
                "Address of the page that you came back to (empty if it says Authorized)", "", err=True
            )
            if address:
                done = client.request(
                    Request("POST", f"{API}/authorizations/finish", json={"address": address.strip()}, repeatable=False)
                )
                say(f"authorized: {done['route']}" + ("" if done["renewable"] else ", until its access token ends"))
            return OK
        if action not in {"set", "remove"} or not name or len(owner) > 1:
            say("error: use list, set NAME, remove NAME or authorize ROUTE, with one of --user USER and --session ID")
            return USAGE
        if action == "remove":
            client.request(Request("DELETE", at, params=owner, repeatable=False))
            return OK
        value = typed("Value")
        if not value:
            say("error: there is no value")
            return USAGE
        client.request(Request("PUT", at, params=owner, json={"value": value}, repeatable=True))
    return OK
