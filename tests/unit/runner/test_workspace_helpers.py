"""The runner's side of a call: the helper is a process of its own and ends with the call."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from jelmore_protocol.frames import ErrorCode
from jelmore_runner import processes, workspace_helpers
from jelmore_runner.errors import RefusedError
from jelmore_runner.settings import Address, Settings
from jelmore_runner.workspace_helpers import Helpers
from tests.support.waiting import until


@pytest.fixture
def helpers(tmp_path: Path) -> Helpers:
    nowhere = Address(path="/nowhere")
    settings = Settings(nowhere, nowhere, nowhere, tmp_path)
    settings.workspace.mkdir()
    (settings.workspace / "large").write_bytes(bytes(3 * 2**20))
    return Helpers(settings)


async def _body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_call_is_answered_and_its_helper_ends(helpers: Helpers) -> None:
    assert helpers.idle_s() >= 0
    answer = await helpers.answer(_body(b'{"op":"get",', b'"path":"large"}\n'))
    assert helpers.idle_s() == 0
    content = b"".join([piece async for piece in answer])
    assert content.endswith(bytes(3 * 2**20))
    assert not processes.AWAITED


async def test_a_reader_that_leaves_ends_the_helper(helpers: Helpers) -> None:
    answer = await helpers.answer(_body(b'{"op":"get","path":"large"}\n'))
    await answer.aclose()
    assert not processes.AWAITED
    assert helpers._running == 0


async def test_a_reader_that_is_cancelled_leaves_nothing_either(helpers: Helpers) -> None:
    with anyio.CancelScope() as scope:  # in it every await is cancelled, also those that clean up
        answer = await helpers.answer(_body(b'{"op":"get","path":"large"}\n'))
        try:
            await anext(answer)
            scope.cancel()
        finally:
            await answer.aclose()
    await until(lambda: helpers._running == 0 and not processes.AWAITED)


async def test_there_are_only_so_many_at_once(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_helpers, "MAX_AT_ONCE", 1)
    first = await helpers.answer(_body(b'{"op":"get","path":"large"}\n'))
    with pytest.raises(RefusedError) as refused:
        await helpers.answer(_body(b'{"op":"get","path":""}\n'))
    assert refused.value.code is ErrorCode.QUEUE_FULL
    await first.aclose()
    answer = await helpers.answer(_body(b'{"op":"get","path":""}\n'))
    assert b'"large"' in b"".join([piece async for piece in answer])


async def test_a_body_that_stops_arriving_ends_the_call(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_helpers, "PIECE_S", 0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield b'{"op":"put","path":"x","most_bytes":10}\n'
        await asyncio.Event().wait()

    with pytest.raises(RefusedError) as refused:
        await helpers.answer(stalled())
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert helpers._running == 0


@pytest.mark.parametrize("line", [b"", b"no json\n", b"[]\n", b"{}\n", b'{"op":"none"}\n', b'{"op":"get"}\n'])
async def test_a_strange_call_is_refused_by_the_helper(helpers: Helpers, line: bytes) -> None:
    answer = await helpers.answer(_body(line, b"more" * 100_000))
    assert b'"error"' in b"".join([piece async for piece in answer])
