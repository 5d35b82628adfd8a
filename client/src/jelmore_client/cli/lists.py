"""Commands that show sessions and change nothing: ls, show, inbox, search, top."""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jelmore_client import errors
from jelmore_client.cli.app import OK, AsJson, SessionRef, command, connect, find
from jelmore_client.cli.printing import age, print_fields, print_json, print_sessions, print_table, say, short, state_of

if TYPE_CHECKING:
    from jelmore_client import Attendee, Jelmore, Session, SessionInfo

_WATCH_S: Final = 2.0
_ASKS: Final = ("permission", "question", "egress")
_LIVE: Final = ("waiting_input", "active", "initializing", "idle")
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Repeat until Ctrl-C.")]


def repeat(show: Callable[["Jelmore"], None], *, watch: bool, clear: bool) -> int:
    """Show something once, or until Ctrl-C. A terminal is cleared in between; a pipe gets one listing after another.

    While the server is away, a listing that repeats says so and continues.
    """
    with connect() as client:
        while True:
            if watch and clear and sys.stdout.isatty():
                print("\033[H\033[2J", end="")  # noqa: T201 - clears the screen
            try:
                show(client)
            except errors.ConnectionFailedError as error:
                if not watch:
                    raise
                say(f"{error} …")
            sys.stdout.flush()
            if not watch:
                return OK
            time.sleep(_WATCH_S)


@command("ls")
def ls(
    *,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also sessions that have ended.")] = False,
    status: Annotated[str | None, typer.Option(help="Only this state: active, idle, waiting_input, failed, …")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, the newest.")] = 200,
    tag: Annotated[str | None, typer.Option(help="Only sessions with this tag.")] = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> int:
    """List sessions, newest first."""

    def show(client: "Jelmore") -> None:
        filters = {"status": status, "tag": tag}
        listed = client.sessions.list(**filters, limit=min(limit, 200)) if everything or status else live(client, tag)
        found = list(islice(listed, limit + 1))
        more, found = len(found) > limit, found[:limit]
        if as_json:
            for each in found:
                print_json(each.model_dump(mode="json"))
        else:
            print_sessions(found)
        if more and not watch:
            say(f"only the newest {limit}; --limit shows more")

    return repeat(show, watch=watch, clear=not as_json)


def live(client: "Jelmore", tag: str | None = None) -> Iterator["SessionInfo"]:
    """Yield the sessions that have not ended, newest first. Those that have are not asked for: they are many."""
    yield from client.sessions.list(status=list(_LIVE), tag=tag, limit=200)


@command("show")
def show_session(reference: SessionRef, *, as_json: AsJson = False) -> int:
    """Show a session: its state, what it waits for, what it used, and who is looking at it; --json shows everything."""
    with connect() as client:
        session = find(client, reference)
        info = session.refresh()
        people = _attendance(session)
        if as_json:
            looking = [each.model_dump(mode="json") for each in people]
            print_json({**info.model_dump(mode="json"), "attendance": looking})
            return OK
        print_fields(_described(session, info, people))
    return OK


def _described(session: "Session", info: "SessionInfo", people: "list[Attendee]") -> list[tuple[str, str]]:
    extra = info.model_extra or {}
    network = extra.get("network") or {}
    usage = info.usage
    waiting = [] if info.ended or info.waiting_for not in _ASKS else session.pending()
    rows = [
        ("session", info.id),
        ("title", info.title or "-"),
        ("state", state_of(info) + (f", {info.end_reason}" if info.end_reason else "")),
        *(("waits for", f"{each.title or each.tool} (request {each.request_id})") for each in waiting),
        ("model", info.model or "the server's default"),
        ("mode", info.permission_mode),
        ("network", str(network.get("mode", "-"))),
        ("profile", str(extra.get("profile", "-"))),
        ("active", f"{age(info.last_activity)} ago, created {age(info.created_at)} ago"),
        ("used", f"{usage.turns} turns, {usage.input_tokens + usage.output_tokens:,} tokens, ${usage.cost_usd:.4f}"),
        ("looking", ", ".join(f"{each.name} ({each.role})" for each in people) or "nobody"),
    ]
    if info.repository is not None:
        rows.insert(6, ("repository", f"{info.repository.url} at {info.repository.commit[:12]}"))
    return rows


def _attendance(session: "Session") -> "list[Attendee]":
    """Return who is looking at a session; nobody when the server is of an earlier version."""
    try:
        return session.people.attendance().people
    except errors.NotFoundError:
        return []


@command("inbox")
def inbox(*, watch: Watch = False, as_json: AsJson = False) -> int:
    """List the sessions that wait for a person, and what they ask."""
    from jelmore_client import Session

    def show(client: "Jelmore") -> None:
        rows: list[tuple[str, ...]] = []
        for info in (each for asked in _ASKS for each in client.sessions.list(waiting_for=asked, limit=200)):
            waiting = Session(client, info).pending()
            rows.extend((short(info.id), each.request_id, info.title or "", each.title) for each in waiting)
        if as_json:
            for row in rows:
                print_json(dict(zip(("session", "request_id", "title", "asks"), row, strict=True)))
        else:
            print_table(("SESSION", "REQUEST", "TITLE", "ASKS"), rows, shorten=2)

    return repeat(show, watch=watch, clear=not as_json)


@command("search")
def search(words: str, *, as_json: AsJson = False) -> int:
    """Find sessions by words of their titles, prompts and answers."""
    with connect() as client:
        found = list(client.sessions.list(q=words, archived="all", limit=100))
    if as_json:
        for each in found:
            print_json(each.model_dump(mode="json"))
    else:
        print_sessions(found)
    return OK


@command("top")
def top(*, watch: Watch = False, as_json: AsJson = False) -> int:
    """Show what live sessions use."""

    def show(client: "Jelmore") -> None:
        found = list(live(client))
        if as_json:
            for each in found:
                print_json({"session_id": each.id, "status": each.status, **_resources(each)})
        else:
            print_table(("ID", "STATUS", "MEMORY", "PIDS", "WORKSPACE", "COST"), [_use(each) for each in found])

    return repeat(show, watch=watch, clear=not as_json)


def _resources(info: "SessionInfo") -> dict[str, Any]:
    return {**((info.model_extra or {}).get("resources") or {}), "cost_usd": info.usage.cost_usd}


def _use(info: "SessionInfo") -> tuple[str, ...]:
    used = _resources(info)

    def mebibytes(name: str) -> str:
        value = used.get(name)
        return "-" if value is None else f"{value / 2**20:,.0f} MiB"

    pids = used.get("pids")
    cost = f"${info.usage.cost_usd:.4f}"
    return (
        short(info.id), info.status, mebibytes("memory_bytes"), "-" if pids is None else str(pids),
        mebibytes("workspace_bytes"), cost,
    )  # fmt: skip
