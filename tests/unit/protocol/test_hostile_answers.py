"""What a runner sends is untrusted: reading it costs little time and memory, whatever it holds."""

import json
import tracemalloc
from dataclasses import asdict
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from jelmore.control.resources import measurement_of
from jelmore.drivers.relay_inbox import Inbox, read_frame
from jelmore.drivers.runner_answers import check_values
from jelmore.drivers.transcript_link import Channel
from jelmore.ports import BrokenOutputError, Delta
from jelmore.session.errors import DependencyError
from jelmore_protocol.control import Commands, Health, McpServers, Queue
from jelmore_protocol.frames import HelloFrame

SESSION = "0198c0de-0000-7000-8000-000000000001"
HELLO = {"type": "hello", "protocol": 1, "session_id": SESSION, "resume": "ok", "seq": 7, "state": "waiting_input"}
HEALTH = {"protocol": 1, "phase": "ready", "session_id": SESSION, "generation": 1, "seq": 7}


@pytest.mark.parametrize(
    ("shape", "fields", "name"),
    [
        (Health, HEALTH, "pending"),
        (HelloFrame, HELLO, "pending"),
        (Queue, {}, "inputs"),
        (Commands, {}, "commands"),
        (McpServers, {}, "servers"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_first_bad_entry_of_a_list_ends_its_reading(
    shape: type[BaseModel], fields: dict[str, object], name: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        shape.model_validate_json(json.dumps({**fields, name: [{}] * 1000}))
    assert {error["loc"][:2] for error in raised.value.errors()} == {(name, 0)}


def test_large_requests_that_wait_do_not_break_a_relay() -> None:
    """Two subagents may each wait to write a large file, and a manager that starts gets both requests in `hello`."""
    asked = {"request_id": "r", "waiting_for": "permission", "tool": "Write", "title": "w", "suggestions": []}
    pending = [{**asked, "request_id": str(n), "input": {"content": "x" * 900_000}} for n in range(4)]
    inbox = Inbox(0, SESSION)
    assert read_frame(json.dumps({**HELLO, "pending": pending}), inbox) is None
    assert inbox.head == 7


def test_a_frame_of_very_many_values_is_refused_unparsed() -> None:
    text = json.dumps(HELLO)[:-1] + ',"x":[' + "[]," * 1_000_000 + "[]]}"
    tracemalloc.start()
    with pytest.raises(BrokenOutputError):
        read_frame(text, Inbox(0, SESSION))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * len(text)


def test_a_line_of_a_workspace_with_very_many_values_is_refused_unparsed() -> None:
    with pytest.raises(DependencyError, match="values"):
        check_values(b"[" + b"[]," * 1_000_000 + b"[]]", "the workspace")


@pytest.mark.parametrize("head", ['{"type":"delta","data":"', '{"type": "delta", "data": "'])
def test_a_delta_that_no_agent_writes_is_dropped(head: str) -> None:
    inbox = Inbox(0, SESSION)
    whole = head + "x" * 60_000 + '"}'
    assert read_frame(whole, inbox) == Delta(whole)
    assert read_frame(head + "x" * 70_000 + '"}', inbox) is None


def test_a_frame_of_a_transcript_with_very_many_values_is_refused_unparsed() -> None:
    channel = Channel(cast("Any", None), SESSION)
    text = '{"type":"wanted","x":[' + "[]," * 1_000_000 + "[]]}"
    tracemalloc.start()
    with pytest.raises(DependencyError, match="values"):
        channel._read(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * len(text)
    entry = json.dumps([[]] * 200_000)  # an honest entry is one string, whatever it holds
    data = {"conversation_id": SESSION, "entry": entry}
    assert channel._read(json.dumps({"type": "transcript", "seq": 1, "kind": "entry", "data": data}))


@pytest.mark.parametrize("number", [10**400, 2**63, -(2**40)], ids=["huge", "beyond a bigint", "negative"])
def test_a_number_that_no_store_can_hold_is_unknown(number: int) -> None:
    """The sums over all sessions failed for everybody because of one number of one sandbox."""
    names = ("memory_bytes", "memory_limit_bytes", "pids", "pids_limit", "workspace_bytes", "workspace_limit_bytes")
    health = Health.model_validate_json(
        json.dumps({**HEALTH, **dict.fromkeys((*names, "agent_pid", "agent_exit_code"), number)})
    )
    assert set(asdict(measurement_of(health)).values()) == {None}
    assert (health.agent_pid, health.agent_exit_code) == (None, None)
    for name in ("seq", "generation"):
        with pytest.raises(ValidationError):
            Health.model_validate_json(json.dumps({**HEALTH, name: number}))


def test_honest_numbers_are_read() -> None:
    health = Health.model_validate({**HEALTH, "memory_bytes": 2**40, "pids": 7, "agent_pid": 12, "agent_exit_code": -9})
    assert (health.memory_bytes, health.pids, health.agent_pid, health.agent_exit_code) == (2**40, 7, 12, -9)
