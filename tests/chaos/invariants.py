"""The promises, checked once all is quiet. Each function notes what does not hold."""

import json
from collections import Counter
from typing import Any, Final

from jelmore.session.states import MOVES, SessionStatus
from tests.chaos.cursors import Cursor, digest_of
from tests.chaos.installation import Installation
from tests.chaos.notebook import Notebook
from tests.chaos.truth import Truth
from tests.chaos.workload import Busy, Prompt

_LEGAL: Final = {(start.value, end.value) for (start, _), end in MOVES.items() if start is not end}
_LIVE: Final = ("active", "waiting_input", "idle")


def check_output(session: Busy, truth: Truth, notebook: Notebook) -> None:
    """Every store and every subscriber has 1..n, and the same."""
    journal = {event["seq"]: digest_of(event) for event in truth.journal}
    _counts(f"{session.id} journal", [event["seq"] for event in truth.journal], notebook)
    _counts(f"{session.id} PostgreSQL output", [seq for seq, _ in truth.output], notebook, upto=len(journal))
    _same(
        f"{session.id} PostgreSQL output",
        {seq: digest_of(json.loads(text)) for seq, text in truth.output},
        journal,
        notebook,
    )
    _same(f"{session.id} Redis", {seq: digest_of(json.loads(text)) for seq, text in truth.tail}, journal, notebook)
    if truth.row["output_seq"] != len(journal):
        notebook.find(f"{session.id}: the row says {truth.row['output_seq']}, the journal has {len(journal)}")
    for cursor in session.cursors:
        _whole(cursor, journal, notebook)


def check_tail(session: Busy, truth: Truth, *, wiped: bool, notebook: Notebook) -> None:
    """Redis has the newest output without a hole, as PostgreSQL has it; or nothing, if it was wiped since the last."""
    seqs = [seq for seq, _ in truth.tail]
    newest = len(truth.journal)
    if seqs != list(range(newest - len(seqs) + 1, newest + 1)) or not (seqs or wiped):
        notebook.find(f"{session.id} Redis: holds {_spans(seqs)} of 1..{newest}, not the newest without a hole")
    _same(f"{session.id} Redis beside PostgreSQL", dict(truth.tail), dict(truth.output), notebook)


def check_events(session: Busy, truth: Truth, bus: Cursor | None, notebook: Notebook) -> None:
    """Events are 1..n everywhere, and their moves are legal."""
    count = len(truth.events)
    _counts(f"{session.id} events", [seq for seq, _, _ in truth.events], notebook)
    for cursor in (session.events, bus):
        if cursor is None or cursor.position != count or len(cursor.seen) != count:
            name = cursor.name if cursor else f"{session.id} events on JetStream"
            notebook.find(f"{name}: has {cursor and _spans(sorted(cursor.seen))} of 1..{count}")
    if bus is not None:
        _same(bus.name, bus.seen, session.events.seen, notebook)
    if truth.unpublished:
        notebook.find(f"{session.id}: {truth.unpublished} events wait in the outbox")
    _legal(session.id, truth, notebook)


def _legal(session_id: str, truth: Truth, notebook: Notebook) -> None:
    status = SessionStatus.INITIALIZING.value
    if truth.events and truth.events[0][1] != "session.created":
        notebook.find(f"{session_id}: its life begins with {truth.events[0][1]}")
    for seq, kind, payload in truth.events:
        if kind != "session.state_changed":
            continue
        move = (payload["from"], payload["to"])
        if move not in _LEGAL or payload["from"] != status:
            notebook.find(f"{session_id}: event {seq} tells of {move} while it was {status}")
        status = payload["to"]
    if status != truth.row["status"]:
        notebook.find(f"{session_id}: its events end in {status}, its row in {truth.row['status']}")


def check_inputs(session: Busy, truth: Truth, notebook: Notebook) -> None:
    """Each input was taken once, ran at most once and ended once."""
    taken: Counter[str] = Counter()
    handed: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    resulted: set[str] = set()
    for event in truth.journal:
        data = event["data"]
        match event["kind"]:
            case "input":
                taken[data["id"]] += 1
            case "message" if data["message"].get("type") == "result" and data.get("input_id"):
                ended[data["input_id"]] += 1
                resulted.add(data["input_id"])
            case "interrupted":
                ended[data["input_id"]] += 1
            case "state" if data["state"] == "active" and data.get("input_id"):
                handed[data["input_id"]] += 1
            case _:
                pass
    written = Counter(truth.ledger.split())
    for prompt in session.prompts:
        _check_input(session.id, prompt, (taken, ended, written), resulted, notebook)
    for stranger in taken.keys() - {prompt.id for prompt in session.prompts}:
        notebook.find(f"{session.id}: an input {stranger} that nobody gave")


def _check_input(
    session_id: str, prompt: Prompt, counts: tuple[Counter[str], ...], resulted: set[str], notebook: Notebook
) -> None:
    taken, ended, written = (each[prompt.id] for each in counts)
    what = f"{session_id}: input {prompt.id}"
    if taken > 1 or (prompt.accepted and taken != 1):
        notebook.find(f"{what} was taken {taken} times")
    if ended != taken:
        notebook.find(f"{what} was taken {taken} times and ended {ended} times")
    if written > 1:
        notebook.find(f"{what} ran {written} times")
    if "echo" in prompt.text and prompt.id in resulted and not written:
        notebook.find(f"{what} has a result but did not write its line")


def check_world(
    installation: Installation, rows: dict[str, dict[str, Any]], members: dict[str, str], notebook: Notebook
) -> None:
    """No container, route or folder without its row, and none missing that a row calls for.

    A container may also have a row in the warm pool. No id has both, and no member is published.
    """
    sandboxes, routes, folders = installation.sandboxes(), installation.routes(), installation.old_folders()
    live = {session_id for session_id, row in rows.items() if row["ended_at"] is None}
    for member_id, state in members.items():
        here = [each for _, each in sandboxes.get(member_id, [])]
        if member_id in rows or len(here) > 1 or (state == "ready" and here != ["running"]):
            notebook.find(f"member {member_id} is {state}, its containers are {here}; a session: {member_id in rows}")
    for kind, found in (("container", set(sandboxes) - set(members)), ("route", routes)):
        for session_id in sorted(found - live):
            notebook.find(f"a {kind} of {session_id}, which is no live session")
    for key in sorted(folders):
        notebook.find(f"a folder of sockets {key} that nobody uses")
    for session_id in sorted(live):
        row = rows[session_id]
        here = [state for _, state in sandboxes.get(session_id, [])]
        wanted = {"awake": ["running"], "frozen": ["paused"], "hibernated": []}[row["presence"]]
        if installation.runtime == "docker" and here != wanted:
            notebook.find(f"{session_id} is {row['presence']} and its containers are {here}")
        if session_id not in routes:
            notebook.find(f"{session_id} is live and has no route")
        if row["status"] not in _LIVE or row["wanted"] != "running":
            notebook.find(f"{session_id} rests as {row['status']}, wanted {row['wanted']}")


def _counts(name: str, seqs: list[int], notebook: Notebook, upto: int | None = None) -> None:
    newest = len(seqs) if upto is None else upto
    if seqs != list(range(1, newest + 1)):
        notebook.find(f"{name}: holds {_spans(seqs)}, not 1..{newest}")


def _whole(cursor: Cursor, truth: dict[int, str], notebook: Notebook) -> None:
    if cursor.position != len(truth) or set(cursor.seen) != set(truth):
        notebook.find(
            f"{cursor.name}: stands at {cursor.position} with {_spans(sorted(cursor.seen))} of 1..{len(truth)}"
        )
    _same(cursor.name, cursor.seen, truth, notebook)


def _same(name: str, found: dict[int, str], truth: dict[int, str], notebook: Notebook) -> None:
    other = [seq for seq, mark in found.items() if truth.get(seq) != mark]
    if other:
        notebook.find(f"{name}: {_spans(other)} differ from the truth")


def _spans(seqs: list[int]) -> str:
    """Return numbers as spans: `1-7 9-12`."""
    spans: list[list[int]] = []
    for seq in seqs:
        if spans and seq == spans[-1][1] + 1:
            spans[-1][1] = seq
        else:
            spans.append([seq, seq])
    return " ".join(f"{first}-{last}" for first, last in spans) or "nothing"
