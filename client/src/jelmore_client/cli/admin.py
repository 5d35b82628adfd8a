"""Commands about the installation: health, usage, keys, and any other call of the API."""

from typing import TYPE_CHECKING, Annotated

import typer

from jelmore_client.cli import completing
from jelmore_client.cli.app import FAILED, OK, USAGE, AsJson, command, connect
from jelmore_client.cli.printing import print_json, print_table, say

if TYPE_CHECKING:
    from jelmore_client import ApiKey, Jelmore, TokenSum

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
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

    if method.upper() not in _METHODS:
        raise typer.BadParameter(f"must be one of {', '.join(_METHODS)}", param_hint="METHOD")
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
    with connect() as client:
        items = client.usage(by).items  # type: ignore[arg-type]  # the server names what there is
    if as_json:
        for each in items:
            print_json(each.model_dump(mode="json"))
    else:
        rows = [
            (each.name or "-", f"{each.turns:,}", f"{each.input_tokens:,}", f"{each.output_tokens:,}", _cost(each))
            for each in items
        ]
        print_table((by.upper(), "TURNS", "INPUT", "OUTPUT", "COST"), rows)
    return OK


def _cost(used: "TokenSum") -> str:
    return f"${used.cost_usd:.4f}"


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
    made: ApiKey | None = None
    with connect() as client:
        if action == "list":
            _list_keys(client, as_json=as_json)
            return OK
        if action == "create":
            made = client.keys.create(name, role=role, user_id=user, act_as=act_as or False)  # type: ignore[arg-type]  # the server names its roles
        elif action == "change" and key_id and act_as is not None:
            made = client.keys.change(key_id, act_as=act_as)
        elif action == "rotate" and key_id:
            made = client.keys.rotate(key_id)
        elif action == "revoke" and key_id:
            client.keys.revoke(key_id)
        else:
            say("error: use list, create --name NAME, change ID --act-as or --no-act-as, rotate ID or revoke ID")
            return USAGE
    if as_json:
        print_json({"id": key_id} if made is None else made.model_dump(mode="json"))
    elif text := getattr(made, "key", None):
        print(text)  # noqa: T201 - shown this once
    return OK


def _list_keys(client: "Jelmore", *, as_json: bool) -> None:
    found = [each.model_dump(mode="json") for each in client.keys.list()]
    if as_json:
        for each in found:
            print_json(each)
    else:
        rows = [[str(each.get(field) or "-") for field in _KEY_FIELDS] for each in found]
        print_table([field.upper() for field in _KEY_FIELDS], rows)


_KEY_FIELDS = ("id", "name", "role", "user_id", "act_as", "created_at", "expires_at", "last_used_at")
