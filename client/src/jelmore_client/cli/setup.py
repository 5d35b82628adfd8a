"""Commands about the connection itself: login, logout and contexts."""

import os
from typing import Annotated, Any, Literal

import typer

from jelmore_client.cli import contexts
from jelmore_client.cli.app import OK, UNKNOWN, AsJson, command
from jelmore_client.cli.printing import print_json, print_table, say
from jelmore_client.cli.secrets_typed import typed


def _url(value: str) -> str:
    try:
        return contexts.checked_url(value, "the server's URL")
    except contexts.ContextError as error:  # before the key is asked for
        raise typer.BadParameter(str(error)) from None


@command("login")
def login(
    url: Annotated[str, typer.Argument(callback=_url, help="The server's URL.")],
    *,
    name: Annotated[str, typer.Option(help="The name of the context.")] = "default",
    api_key: Annotated[
        str | None,
        typer.Option(envvar="JELMORE_API_KEY", help="When left out: asked for, or read from standard input."),
    ] = None,
    keyring: Annotated[
        bool | None,
        typer.Option("--keyring/--file", help="Where the key is kept. By itself: the keyring where there is one."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check a key and keep it: in the system's keyring, or in a file that only you can read."""
    from jelmore_client import Jelmore

    api_key = (api_key or "").strip() or typed("API key")
    if not api_key:
        raise contexts.ContextError("there is no API key: type it, or give it on standard input")
    with Jelmore(url, api_key=api_key) as client:
        next(client.sessions.list(limit=1), None)
    path = contexts.contexts_path()
    known = contexts.load(path)
    url = url.rstrip("/")
    _forget_key(name, known["contexts"].get(name))
    where = _keep(name, url, api_key, keyring=keyring)
    known["contexts"][name] = {"url": url, "key_in": where} if where == "keyring" else {"url": url, "api_key": api_key}
    known["current"] = name
    contexts.save(path, known)
    if as_json:
        print_json({"name": name, "url": url, "file": str(path), "key_in": where})
    say(f"context {name} is {url}; the key is in {"the system's keyring" if where == 'keyring' else path}")
    return OK


def _keep(name: str, url: str, api_key: str, *, keyring: bool | None) -> Literal["keyring", "file"]:
    """Return where the key is. Raises ContextError when the keyring was asked for and cannot be used."""
    from jelmore_client.cli import key_storage

    if keyring is False or (keyring is None and not key_storage.available(os.environ)):
        return "file"
    try:
        key_storage.keep(name, url, api_key)
    except key_storage.KeyringError as error:
        if keyring:
            raise contexts.ContextError(
                f"the system's keyring cannot be used: {error}. Unlock it, or use --file"
            ) from None
        say(f"the system's keyring cannot be used ({error}); the key goes into a file")
        return "file"
    return "keyring"


def _forget_key(name: str, entry: dict[str, Any] | None) -> None:
    if entry is None or entry.get("key_in") != "keyring":
        return
    from jelmore_client.cli import key_storage

    try:
        key_storage.forget(name, str(entry["url"]))
    except key_storage.KeyringError as error:
        say(f"the key stays in the system's keyring, which cannot be used: {error}")
        account = f"{name} {entry['url']}"
        say(f"Unlock it, then remove it with: keyring del {key_storage.SERVICE} '{account}'")


@command("logout")
def logout(*, name: Annotated[str, typer.Option(help="The name of the context.")] = "default") -> int:
    """Forget a context and its key."""
    path = contexts.contexts_path()
    known = contexts.load(path)
    entry = known["contexts"].pop(name, None)
    if entry is None:
        say(f"error: there is no context {name!r}")
        return UNKNOWN
    _forget_key(name, entry)
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
            current = name == known.get("current")
            print_json({"name": name, "url": entry["url"], "current": current, "key_in": entry.get("key_in", "file")})
        return OK
    rows = [
        ("*" if name == known.get("current") else "", name, entry["url"], entry.get("key_in", "file"))
        for name, entry in known["contexts"].items()
    ]
    print_table(("", "NAME", "URL", "KEY IN"), rows)
    return OK
