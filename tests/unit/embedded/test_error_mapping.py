"""No error of the HTTP library leaves a health check: what does not answer is not healthy."""

from pathlib import Path

import aiohttp
import pytest

from jelmore.embedded.children import DemoModel
from jelmore.serve import _ask
from tests.support.library_errors import OF_AIOHTTP, built


@pytest.fixture(params=OF_AIOHTTP, ids=lambda kind: kind.__name__)
def failing_http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    """Every HTTP call raises this class of the library's errors."""
    kind: type[Exception] = request.param

    async def fail(*_: object, **__: object) -> None:
        raise built(kind)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)
    return kind


async def test_what_aiohttp_raises_means_that_a_child_does_not_answer(
    failing_http: type[Exception], tmp_path: Path
) -> None:
    child = DemoModel(tmp_path, tmp_path)
    (tmp_path / "model.sock").touch()
    assert not await child.answers()


async def test_what_aiohttp_raises_to_the_health_command_is_a_report(
    failing_http: type[Exception], tmp_path: Path
) -> None:
    answer = await _ask(tmp_path / "manager.sock", "/health")
    assert answer["status"] == "down"
    assert "does not answer" in answer["message"]
