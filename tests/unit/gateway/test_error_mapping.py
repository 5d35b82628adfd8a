"""No error of the HTTP library leaves the gateway's calls to other servers: a sandbox gets a refusal to repeat."""

import inspect

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from jelmore_gateway.forward import Call, Deadlines, Observer, forward
from jelmore_gateway.refusals import RefusedError

OF_AIOHTTP = [
    *(kind for _, kind in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(kind, aiohttp.ClientError)),
    OSError,
    ConnectionResetError,
    TimeoutError,
    ValueError,
]


@pytest.mark.parametrize("kind", OF_AIOHTTP, ids=lambda kind: kind.__name__)
async def test_what_aiohttp_raises_is_a_refusal(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"__init__": lambda self: Exception.__init__(self, "words"), "__str__": lambda _: "words"}
    failure: Exception = type(kind.__name__, (kind,), members)()

    async def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)
    call = Call(URL("http://127.0.0.1:1/v1/messages"), [], "the model API", 1000)
    async with aiohttp.ClientSession() as client:
        with pytest.raises(RefusedError) as refused:
            await forward(make_mocked_request("GET", "/v1/messages"), call, client, Deadlines(), Observer())
    assert (refused.value.status, refused.value.kind) == (503, "api_error")
