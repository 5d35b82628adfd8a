"""No error of the HTTP library leaves the gateway's calls to other servers: a sandbox gets a refusal to repeat."""

import asyncio
from pathlib import Path
from typing import cast

import aiohttp
import h11
import pytest
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from jelmore_gateway.__main__ import ask_health
from jelmore_gateway.egress.http_side import GoneError, HttpSide
from jelmore_gateway.egress.limits import Deadlines as EgressDeadlines
from jelmore_gateway.forward import Call, Deadlines, Observer, forward
from jelmore_gateway.refusals import RefusedError
from jelmore_gateway.route_probes import _described
from jelmore_gateway.settings import Settings
from tests.support.library_errors import OF_AIOHTTP, OF_H11, built


def fail_with(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every HTTP call raise this class of the library's errors."""

    async def fail(*_: object, **__: object) -> None:
        raise built(kind)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_is_a_refusal(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(kind, monkeypatch)
    call = Call(URL("http://127.0.0.1:1/v1/messages"), [], "the model API", 1000)
    async with aiohttp.ClientSession() as client:
        with pytest.raises(RefusedError) as refused:
            await forward(make_mocked_request("GET", "/v1/messages"), call, client, Deadlines(), Observer())
    assert (refused.value.status, refused.value.kind) == (503, "api_error")


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_to_a_probe_is_a_problem_in_words(kind: type[Exception]) -> None:
    async def ask() -> str:
        raise built(kind)

    assert await _described(ask)


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_to_the_health_command_is_an_exit_code(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Here:
        control_socket = tmp_path / "gateway.sock"

    fail_with(kind, monkeypatch)
    assert await ask_health(cast("Settings", Here())) == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("kind", OF_H11, ids=lambda kind: kind.__name__)
async def test_what_h11_raises_ends_the_connection(kind: type[Exception]) -> None:
    class Broken:
        def fail(self, *_: object) -> None:
            raise built(kind)

        next_event = send = fail

    side = HttpSide(cast("h11.Connection", Broken()), asyncio.StreamReader(), _writer(), EgressDeadlines())
    with pytest.raises(GoneError):
        await side.next(1)
    with pytest.raises(GoneError):
        await side.send(h11.EndOfMessage())


def _writer() -> asyncio.StreamWriter:
    """Return a writer that nothing reaches, as h11 fails before."""
    return cast("asyncio.StreamWriter", object())
