"""Commands about the connection itself: login, contexts, doctor."""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from jelmore_client import errors
from jelmore_client.cli import contexts
from jelmore_client.cli.app import FAILED, OK, UNKNOWN, command, server
from jelmore_client.cli.printing import print_table, say

if TYPE_CHECKING:
    from jelmore_client import Jelmore

MAX_CLOCK_SKEW_S: Final = 5.0
MIN_FREE_BYTES: Final = 2 * 2**30


@command("login")
def login(
    url: Annotated[str, typer.Argument(help="The server's URL.")],
    *,
    name: Annotated[str, typer.Option(help="The name of the context.")] = "default",
    api_key: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="JELMORE_API_KEY", help="Asked for when left out.")
    ],
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
def list_contexts(*, use: Annotated[str | None, typer.Option(help="Make this the current context.")] = None) -> int:
    """List the contexts; '*' is the current one."""
    path = contexts.contexts_path()
    known = contexts.load(path)
    if use is not None:
        if use not in known["contexts"]:
            say(f"error: there is no context {use!r}")
            return UNKNOWN
        contexts.save(path, {**known, "current": use})
        known["current"] = use
    rows = [
        ("*" if name == known.get("current") else "", name, entry["url"]) for name, entry in known["contexts"].items()
    ]
    print_table(("", "NAME", "URL"), rows)
    return OK


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check; `mend` says what to do when it is not good."""

    name: str
    good: bool
    found: str
    mend: str = ""


@command("doctor")
def doctor() -> int:
    """Check the connection, the server and this machine; say how to mend what is wrong."""
    findings = [*_connection(), *_machine()]
    print_table(("", "CHECK", "FOUND"), [("ok" if each.good else "!!", each.name, each.found) for each in findings])
    bad = [each for each in findings if not each.good]
    for each in bad:
        print(f"{each.name}: {each.mend}")  # noqa: T201
    return FAILED if bad else OK


def _connection() -> Iterator[Finding]:
    from jelmore_client import Jelmore
    from jelmore_client.core.requests import API, Request

    chosen = server()
    host = urlsplit(chosen.url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
        yield Finding("name", good=True, found=host)
    except OSError as error:
        yield Finding(
            "name", good=False, found=f"{host}: {error}", mend="correct the URL or the resolver of this machine"
        )
        return
    with Jelmore(chosen.url, api_key=chosen.api_key) as client:
        try:
            response = client.send(Request("GET", f"{API}/sessions", params={"limit": 1}))
        except errors.ConnectionFailedError as error:
            yield Finding(
                "server", good=False, found=str(error), mend="start it ('make run' or 'make up') or set JELMORE_URL"
            )
            return
        except errors.UnauthenticatedError:
            yield Finding("key", good=False, found=f"refused (from {chosen.source})", mend="jelmore login URL")
            return
        yield Finding("server", good=True, found=f"{chosen.url} (from {chosen.source})")
        yield Finding("key", good=True, found="accepted")
        if "date" in response.headers:
            skew_s = abs(parsedate_to_datetime(response.headers["date"]).timestamp() - time.time())
            mend = "set the clock of this machine or of the server (NTP); tokens expire by the clock"
            yield Finding("clock", good=skew_s < MAX_CLOCK_SKEW_S, found=f"{skew_s:.0f} s apart", mend=mend)
        yield from _health(client)


def _health(client: "Jelmore") -> Iterator[Finding]:
    try:
        report = client.health()
    except errors.JelmoreError as error:
        yield Finding("health", good=False, found=str(error), mend="see the server's log")
        return
    yield Finding(
        "health", good=report.get("status") == "ok", found=str(report.get("status")), mend="see the checks below"
    )
    checks = report.get("checks")
    for name, check in checks.items() if isinstance(checks, dict) else ():
        status = check.get("status") if isinstance(check, dict) else check
        detail = check.get("error") or check.get("message") or "" if isinstance(check, dict) else ""
        found = f"{status} {detail}".strip()
        yield Finding(f"  {name}", good=status == "ok", found=found, mend=f"docs/operations.md says what {name} is for")


def _machine() -> Iterator[Finding]:
    """Yield the checks of this machine that matter when the server runs on it."""
    engine = Path("/var/run/docker.sock")
    if engine.exists():
        may = os.access(engine, os.R_OK | os.W_OK)
        mend = "join the group docker (sudo usermod -aG docker $USER) and log in again"
        yield Finding("docker", good=may, found=str(engine) if may else f"{engine}: no permission", mend=mend)
    groups = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    yield Finding("cgroups", good=True, found=groups)
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 2**30:.0f} GiB free here"
    yield Finding(
        "disk", good=free > MIN_FREE_BYTES, found=found, mend="free at least 2 GiB: images and workspaces need it"
    )
