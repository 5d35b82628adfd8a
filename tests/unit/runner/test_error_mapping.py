"""No error of the HTTP library leaves the agent's way to the model: one request ends, and the next is served."""

import asyncio
from typing import cast

import h11
import pytest

from jelmore_runner.gateway import _GoneError, _Side
from tests.support.library_errors import OF_H11, built


@pytest.mark.parametrize("kind", OF_H11, ids=lambda kind: kind.__name__)
async def test_what_h11_raises_ends_the_connection(kind: type[Exception]) -> None:
    class Broken:
        def fail(self, *_: object) -> None:
            raise built(kind)

        next_event = send = fail

    side = _Side(cast("h11.Connection", Broken()), asyncio.StreamReader(), cast("asyncio.StreamWriter", object()))
    with pytest.raises(_GoneError):
        await side.next(1)
    with pytest.raises(_GoneError):
        await side.send(h11.EndOfMessage())
