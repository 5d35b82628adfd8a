"""A request is granted between the floor and the ceiling, else refused by name."""

from dataclasses import replace

import pytest

from jelmore.session.errors import InvalidRequestError
from jelmore.session.limits import MEBIBYTE, MINIMUM_MEMORY_BYTES, Limits, combine

DEFAULT = Limits()
CEILING = Limits(memory_bytes=8192 * MEBIBYTE, cpus=4.0, pids=2048)


def test_no_request_is_the_default() -> None:
    assert combine({}, DEFAULT, CEILING) == DEFAULT


def test_bounds_are_granted() -> None:
    most = combine({"memory_bytes": CEILING.memory_bytes, "cpus": 4, "pids": 2048}, DEFAULT, CEILING)
    assert (most.memory_bytes, most.cpus, most.pids) == (CEILING.memory_bytes, 4.0, 2048)
    least = combine({"memory_bytes": MINIMUM_MEMORY_BYTES, "cpus": 0.1, "pids": 128}, DEFAULT, CEILING)
    assert (least.memory_bytes, least.cpus, least.pids) == (MINIMUM_MEMORY_BYTES, 0.1, 128)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_bytes", MINIMUM_MEMORY_BYTES - 1),
        ("memory_bytes", 8192 * MEBIBYTE + 1),
        ("cpus", 0.0),
        ("cpus", 4.1),
        ("cpus", float("nan")),
        ("cpus", float("inf")),
        ("pids", 127),
        ("pids", 2049),
        ("pids", -1),
    ],
)
def test_beyond_the_bounds_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidRequestError, match=rf"limits\.{name}"):
        combine({name: value}, DEFAULT, CEILING)


def test_limits_of_output_move_under_a_ceiling() -> None:
    default = replace(DEFAULT, output_bytes=8 * MEBIBYTE, output_bytes_per_s=4096)
    ceiling = replace(CEILING, output_bytes=16 * MEBIBYTE, output_bytes_per_s=8192)
    assert combine({}, default, ceiling) == default
    chosen = combine({"output_bytes": MEBIBYTE, "output_bytes_per_s": 8192}, default, ceiling)
    assert (chosen.output_bytes, chosen.output_bytes_per_s) == (MEBIBYTE, 8192)
    for request in ({"output_bytes": 17 * MEBIBYTE}, {"output_bytes": 1000}, {"output_bytes_per_s": 8193}):
        with pytest.raises(InvalidRequestError, match=next(iter(request))):
            combine(dict(request), default, ceiling)
