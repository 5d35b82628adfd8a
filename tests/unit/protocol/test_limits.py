"""What one peer, one key and all of them together may hold."""

import json
from contextlib import ExitStack

import pytest
from starlette.datastructures import QueryParams

from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.bounds import MAX_JSON_VALUES
from jelmore_protocol.frames import BadFrameError, InputFrame
from jelmore_protocol.websocket_server import (
    READER_FRAME_BYTES,
    WRITER_FRAME_BYTES,
    ConnectionBudget,
    ServerLimits,
    TooManyError,
    read_after,
)
from jelmore_protocol.websocket_server.limits import ByteBudget


def test_readers_leave_places_for_writers_and_no_key_takes_all() -> None:
    budget = ConnectionBudget(20)
    with ExitStack() as stack:
        for number in range(18):
            stack.enter_context(budget.counted(f"key {number}", can_write=False))
        with pytest.raises(TooManyError):
            stack.enter_context(budget.counted("another reader", can_write=False))
        stack.enter_context(budget.counted("owner", can_write=True))
        stack.enter_context(budget.counted("owner", can_write=True))
        with pytest.raises(TooManyError):
            stack.enter_context(budget.counted("owner", can_write=True))
    assert len(budget) == 0
    with ExitStack() as stack:
        for _ in range(18):
            stack.enter_context(budget.counted("greedy", can_write=True))
        with pytest.raises(TooManyError):
            stack.enter_context(budget.counted("greedy", can_write=True))
        stack.enter_context(budget.counted("owner", can_write=True))


def test_all_connections_of_a_key_share_its_bytes() -> None:
    moment = 0.0
    budget = ByteBudget(1000, 100, lambda: moment)
    assert budget.spend("a", 1000) == 0
    assert budget.spend("a", 500) == 5
    assert budget.spend("b", 500) == 0, "another key has its own"
    moment = 5.0
    assert budget.spend("a", 100) == 1


async def test_a_whole_input_fits_however_it_is_escaped() -> None:
    text = json.dumps({"type": "input", "id": "i" * 128, "input": "\x01" * MAX_INPUT_BYTES})
    assert READER_FRAME_BYTES < len(text) <= WRITER_FRAME_BYTES
    frame = await ServerLimits().decode(text)
    assert isinstance(frame, InputFrame)
    assert len(frame.input) == MAX_INPUT_BYTES
    commas = await ServerLimits().decode(json.dumps({"type": "input", "input": ',[{"' * (MAX_INPUT_BYTES // 4)}))
    assert isinstance(commas, InputFrame), "what is inside a text is no structure"


async def test_many_small_values_are_refused_before_they_are_parsed() -> None:
    many = '{"type":"permission","request_id":"r","decision":"allow","updated_input":{"x":[%s]}}'
    with pytest.raises(BadFrameError, match="at most 100000 values"):
        await ServerLimits().decode(many % ("[]," * MAX_JSON_VALUES + "[]"))


@pytest.mark.parametrize("text", ["-1", "1.0", "1e3", "abc", "", " 1", "+1", "1_0", "٣", str(2**62 + 1), "9" * 5000])
def test_an_after_that_is_no_seq_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^after: "):
        read_after(QueryParams([("after", text)]))


def test_repeated_and_unknown_parameters_are_refused_by_name() -> None:
    assert read_after(QueryParams("")) is None
    assert read_after(QueryParams("after=7")) == 7
    with pytest.raises(ValueError, match=r"^after: is given more than once"):
        read_after(QueryParams("after=1&after=2"))
    with pytest.raises(ValueError, match=r"^afer: is not a parameter"):
        read_after(QueryParams("afer=1"))
