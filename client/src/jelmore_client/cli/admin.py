"""Commands about the installation: health, usage, keys, and any other call of the API."""

from typing import Annotated, Any

import typer

from jelmore_client.cli import completing
from jelmore_client.cli.app import FAILED, OK, USAGE, AsJson, command, connect
from jelmore_client.cli.printing import print_json, print_table, say

_ACTIONS = ("list", "create", "change", "rotate", "revoke")


@command("health")
def health(*, as_json: AsJson = True) -> int:  # noqa: ARG001 - it prints nothing else
    """Print the server's health report, as JSON."""
    with connect() as client:
        report = dict(client.health())
    print_json(report)
    return OK if report.get("status") == "ok" else FAILED


@command("api")
def api(
    method: str,
    path: Annotated[str, typer.Argument(help="Below /api/v1, such as sessions/stats.")],
    *,
    as_json: AsJson = True,  # noqa: ARG001 - it prints nothing else
) -> int:
    """Send a request without a body and print the answer."""
    from jelmore_client.core.requests import API, Request

    with connect() as client:
        print_json(client.request(Request(method.upper(), f"{API}/{path.lstrip('/')}", repeatable=False)))
    return OK


@command("usage")
def usage(
    *,
    by: Annotated[str, typer.Option(help="day, user, key, model or session")] = "day",
    as_json: AsJson = False,
) -> int:
    """Show tokens and cost, summed up."""
    from jelmore_client.core.requests import API, Request

    with connect() as client:
        found = client.request(Request("GET", f"{API}/usage", params={"by": by}))
    items = found["items"]
    if as_json:
        for each in items:
            print_json(each)
    else:
        rows = [
            (each["name"] or "-", *(_number(each, name) for name in _SUMS), f"${each['cost_usd']:.4f}")
            for each in items
        ]
        print_table((by.upper(), "TURNS", "INPUT", "OUTPUT", "COST"), rows)
    return OK


_SUMS = ("turns", "input_tokens", "output_tokens")


def _number(item: dict[str, Any], name: str) -> str:
    return f"{item[name]:,}"


@command("keys")
def keys(
    action: Annotated[
        str, typer.Argument(help="list, create, change, rotate or revoke", autocompletion=completing.words(*_ACTIONS))
    ] = "list",
    key_id: Annotated[str | None, typer.Argument(help="With change, rotate and revoke: the id.")] = None,
    *,
    name: Annotated[str, typer.Option(help="With create: whose key it is.")] = "unnamed",
    role: Annotated[str, typer.Option(help="With create: admin, client or readonly.")] = "client",
    user: Annotated[str | None, typer.Option(metavar="USER_ID", help="With create: the user that it is of.")] = None,
    act_as: Annotated[
        bool | None,
        typer.Option("--act-as/--no-act-as", help="With create and change: whether it acts for every user it names."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Manage API keys; needs an admin key."""
    from jelmore_client.core.requests import API, Request

    path = f"{API}/admin/keys"
    with connect() as client:
        if action == "list" and as_json:
            for each in client.request(Request("GET", path)):
                print_json(each)
            return OK
        if action == "list":
            rows = [
                [str(each.get(field) or "-") for field in _KEY_FIELDS] for each in client.request(Request("GET", path))
            ]
            print_table([field.upper() for field in _KEY_FIELDS], rows)
            return OK
        if action == "create":
            body = {"name": name, "role": role, "user_id": user, "act_as": act_as or False}
            made = client.request(Request("POST", path, json=body, repeatable=False))
        elif action == "change" and key_id and act_as is not None:
            made = client.request(Request("PATCH", f"{path}/{key_id}", json={"act_as": act_as}, repeatable=False))
        elif action in {"rotate", "revoke"} and key_id:
            method, rest = ("POST", "/rotate") if action == "rotate" else ("DELETE", "")
            made = client.request(Request(method, f"{path}/{key_id}{rest}", repeatable=False))
        else:
            say("error: use list, create --name NAME, change ID --act-as or --no-act-as, rotate ID or revoke ID")
            return USAGE
    if as_json:
        print_json(made or {"id": key_id})
    elif made and made.get("key"):
        print(made["key"])  # noqa: T201 - shown this once
    return OK


_KEY_FIELDS = ("id", "name", "role", "user_id", "act_as", "created_at", "expires_at", "last_used_at")
