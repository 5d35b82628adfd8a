"""Commands about the connection itself: login, logout and contexts."""

from typing import Annotated

import typer

from jelmore_client.cli import contexts
from jelmore_client.cli.app import OK, UNKNOWN, AsJson, command
from jelmore_client.cli.printing import print_json, print_table, say


@command("login")
def login(
    url: Annotated[str, typer.Argument(help="The server's URL.")],
    *,
    name: Annotated[str, typer.Option(help="The name of the context.")] = "default",
    api_key: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="JELMORE_API_KEY", help="Asked for when left out.")
    ],
    as_json: AsJson = False,
) -> int:
    """Check a key and keep it, readable by you only."""
    from jelmore_client import Jelmore
    from jelmore_client.core.requests import API, Request

    with Jelmore(url, api_key=api_key) as client:
        client.request(Request("GET", f"{API}/sessions", params={"limit": 1}))
    path = contexts.contexts_path()
    known = contexts.load(path)
    known["contexts"][name] = {"url": url.rstrip("/"), "api_key": api_key}
    known["current"] = name
    contexts.save(path, known)
    if as_json:
        print_json({"name": name, "url": url.rstrip("/"), "file": str(path)})
    say(f"context {name} is {url}; the key is in {path}")
    return OK


@command("logout")
def logout(*, name: Annotated[str, typer.Option(help="The name of the context.")] = "default") -> int:
    """Forget a context and its key."""
    path = contexts.contexts_path()
    known = contexts.load(path)
    if known["contexts"].pop(name, None) is None:
        say(f"error: there is no context {name!r}")
        return UNKNOWN
    if known.get("current") == name:
        known["current"] = next(iter(known["contexts"]), None)
    contexts.save(path, known)
    return OK


@command("contexts")
def list_contexts(
    *,
    use: Annotated[str | None, typer.Option(help="Make this the current context.")] = None,
    as_json: AsJson = False,
) -> int:
    """List the contexts; '*' is the current one."""
    path = contexts.contexts_path()
    known = contexts.load(path)
    if use is not None:
        if use not in known["contexts"]:
            say(f"error: there is no context {use!r}")
            return UNKNOWN
        contexts.save(path, {**known, "current": use})
        known["current"] = use
    if as_json:
        for name, entry in known["contexts"].items():
            print_json({"name": name, "url": entry["url"], "current": name == known.get("current")})
        return OK
    rows = [
        ("*" if name == known.get("current") else "", name, entry["url"]) for name, entry in known["contexts"].items()
    ]
    print_table(("", "NAME", "URL"), rows)
    return OK
