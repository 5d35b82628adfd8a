"""Rows written by older or newer code."""

import json
from dataclasses import asdict, replace
from typing import Any

from jelmore.drivers.postgres_rows import session_of
from jelmore.session.limits import Limits
from jelmore.session.record import Session, Spec, Timing, Usage
from jelmore.session.resources import Measurement, Resources
from tests.support.records import MOMENT, new_session


def row(session: Session, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {**asdict(session), "failure": None, "agent_connected": False}
    for name in ("spec", "usage", "metadata", "pending", "resources", "unanswered", "pending_inputs"):
        plain[name] = json.dumps(plain[name])
    return {**plain, **changes}


def test_a_row_becomes_the_session_it_was() -> None:
    session = new_session(spec=Spec(query="q", allowed_tools=("Bash",)), pending=({"a": 1},), metadata={"k": "v"})
    assert session_of(row(session)) == session


def test_unknown_fields_are_ignored_and_missing_ones_are_default() -> None:
    session = session_of(
        row(
            new_session(),
            spec='{"query": "q", "new_thing": 1, "timing": {"idle_after_s": 7, "new": 2}}',
            usage='{"turns": 3, "new": 1}',
            failure='{"phase": "running", "message": "m", "new": 1}',
        )
    )
    assert session.spec == Spec(query="q", timing=Timing(idle_after_s=7))
    assert session.usage == Usage(turns=3)
    assert session.failure
    assert (session.failure.message, session.failure.log_tail) == ("m", ())


def test_rows_from_before_sizes_were_known_load() -> None:
    old = session_of(row(new_session(), resources="{}", spec='{"query": "q", "limits": {"pids": 300}}'))
    assert old.resources == Resources()
    assert old.spec.limits == replace(Limits(), pids=300)
    known = Resources(Measurement(workspace_bytes=7), MOMENT, {"workspace": 80})
    reading = {"workspace_bytes": 7, "new": 1}
    newer = json.dumps({"reading": reading, "read_at": MOMENT.isoformat(), "told": {"workspace": 80}})
    assert session_of(row(new_session(), resources=newer)).resources == known
