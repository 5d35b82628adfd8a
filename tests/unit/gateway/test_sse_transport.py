"""The one event of a stream that is rewritten, however it is cut into pieces."""

import pytest

from jelmore_gateway.named_routes import Target
from jelmore_gateway.sse_transport import MAX_HEAD_BYTES, EndpointRewriter, StreamError
from jelmore_protocol.gateway import Route

ROUTE = Route(name="mcp/docs", url="https://docs.example/base/sse")


def rewriter() -> EndpointRewriter:
    return EndpointRewriter(Target(ROUTE, ROUTE.url))


@pytest.mark.parametrize(
    ("data", "url"),
    [
        ("/messages/?session_id=1", "https://docs.example/messages/?session_id=1"),
        ("messages?sessionId=2", "https://docs.example/base/messages?sessionId=2"),
        ("https://docs.example/base/m", "https://docs.example/base/m"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_address_leads_to_the_route_and_the_rest_passes(data: str, url: str, end: str, size: int) -> None:
    ping, rest = f": ping{end}{end}", f"event: message{end}data: {{}}{end}{end}event: endpoint{end}data: /x{end}{end}"
    stream = (ping + f"event: endpoint{end}data: {data}{end}{end}" + rest).encode()
    made = rewriter()
    passed = b"".join(made.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert made.url == url
    assert made.path == "/mcp/docs" + url.removeprefix("https://docs.example")
    assert passed == ping.encode() + f"event: endpoint\ndata: {made.path}\n\n".encode() + rest.encode()


@pytest.mark.parametrize(
    "data", ["https://elsewhere.example/m", "//elsewhere.example/m", "http://docs.example/m", "/a b"]
)
def test_an_address_on_another_server_breaks_the_stream_off(data: str) -> None:
    with pytest.raises(StreamError):
        rewriter().feed(f"event: endpoint\ndata: {data}\n\n".encode())


def test_a_stream_that_does_not_begin_is_bounded() -> None:
    with pytest.raises(StreamError):
        rewriter().feed(b"x" * (MAX_HEAD_BYTES + 1))
