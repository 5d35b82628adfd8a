"""What a runner sends is untrusted: reading it costs little time and memory, whatever it holds."""

import json
import tracemalloc

import pytest
from pydantic import BaseModel, ValidationError

from jelmore.drivers.runner_answers import check_values
from jelmore.drivers.runner_link import _Inbox, _read_frame
from jelmore.ports import BrokenOutputError
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
    inbox = _Inbox(0, SESSION)
    assert _read_frame(json.dumps({**HELLO, "pending": pending}), inbox) is None
    assert inbox.head == 7


def test_a_frame_of_very_many_values_is_refused_unparsed() -> None:
    text = json.dumps(HELLO)[:-1] + ',"x":[' + "[]," * 1_000_000 + "[]]}"
    tracemalloc.start()
    with pytest.raises(BrokenOutputError):
        _read_frame(text, _Inbox(0, SESSION))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * len(text)


def test_a_line_of_a_workspace_with_very_many_values_is_refused_unparsed() -> None:
    with pytest.raises(DependencyError, match="values"):
        check_values(b"[" + b"[]," * 1_000_000 + b"[]]", "the workspace")
