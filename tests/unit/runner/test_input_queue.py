"""The list of waiting inputs is bounded in bytes: the manager refuses an answer that is too large."""

from jelmore_protocol.control import InputRequest, Queue
from jelmore_runner.input_queue import InputQueue


def test_every_waiting_input_is_listed_and_large_ones_are_cut() -> None:
    queue = InputQueue(InputRequest(id=str(number), input="x" * 1_000_000) for number in range(100))
    listed = queue.listed({})
    assert [each.id for each in listed] == [str(number) for number in range(100)]
    assert [len(each.input) for each in listed[:2]] == [1_000_000] * 2
    assert listed[2].input.endswith("… [cut: 1000000 characters]")
    assert len(Queue(inputs=listed).model_dump_json()) < 3_000_000
