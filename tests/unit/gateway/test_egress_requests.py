"""How the head of a proxy request is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_gateway.egress.policy import Reason, Refusal, Target
from jelmore_gateway.egress.requests import Forward, Tunnel, read_inner_request, read_request

HOST = [(b"Host", b"example.com")]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (b"example.com:443", Target("example.com", 443)),
        (b"EXAMPLE.com.:443", Target("example.com", 443)),
        (b"[2001:DB8::1]:443", Target("2001:db8::1", 443)),
    ],
)
def test_a_tunnel(text: bytes, target: Target) -> None:
    assert read_request(b"CONNECT", text, b"1.1", HOST) == Tunnel(target)


@pytest.mark.parametrize(
    ("text", "target", "path"),
    [
        (b"http://example.com/a?b=c", Target("example.com", 80), b"/a?b=c"),
        (b"http://example.com", Target("example.com", 80), b"/"),
        (b"HTTP://Example.com:8080?q#f", Target("example.com", 8080), b"/?q"),
        (b"http://[2001:db8::1]/x", Target("2001:db8::1", 80), b"/x"),
        (b"http://example.com/http://other/", Target("example.com", 80), b"/http://other/"),
    ],
)
def test_a_plain_request_is_sent_to_its_target(text: bytes, target: Target, path: bytes) -> None:
    asked = read_request(b"GET", text, b"1.1", [(b"Host", b"other.example"), (b"X-A", b"1")])
    assert isinstance(asked, Forward)
    assert (asked.target, asked.path) == (target, path)
    named = str(target) if target.port != 80 else str(target).removesuffix(":80")
    assert dict(asked.headers) == {b"host": named.encode(), b"x-a": b"1", b"connection": b"close"}


def test_hop_by_hop_headers_stay_here() -> None:
    headers = [
        *HOST,
        (b"Connection", b"x-secret, keep-alive"),
        (b"X-Secret", b"1"),
        (b"Proxy-Authorization", b"Basic x"),
    ]
    asked = read_request(b"GET", b"http://example.com/", b"1.1", [*headers, (b"Authorization", b"Bearer x")])
    assert isinstance(asked, Forward)
    assert [name for name, _ in asked.headers] == [b"host", b"authorization", b"connection"]


@pytest.mark.parametrize(
    ("method", "text", "headers", "status"),
    [
        (b"CONNECT", b"example.com", HOST, 400),
        (b"CONNECT", b"http://example.com:443", HOST, 400),
        (b"CONNECT", b"2130706433:443", HOST, 400),
        (b"CONNECT", b"example.com:443", [*HOST, (b"Content-Length", b"4")], 400),
        (b"GET", b"/path", HOST, 400),
        (b"OPTIONS", b"*", HOST, 400),
        (b"GET", b"https://example.com/", HOST, 400),
        (b"GET", b"ftp://example.com/", HOST, 400),
        (b"GET", b"http://user:word@example.com/", HOST, 400),
        (b"GET", b"http://example.com@10.0.0.1/", HOST, 400),
        (b"GET", b"http:///path", HOST, 400),
        (b"GET", b"http://example.com\\@evil.example/", HOST, 400),
        (b"GET", b"http://ex\xc3\xa4mple.com/", HOST, 400),
        (b"GET", b"http://example.com/", [*HOST, (b"Upgrade", b"websocket"), (b"Connection", b"upgrade")], 403),
        (b"GET", b"http://example.com/", [*HOST, (b"Upgrade", b"h2c, websocket")], 403),
        (b"POST", b"http://example.com/", [*HOST, (b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], 400),
        (b"GET", b"http://example.com/", [*HOST, (b"X", b"y" * 70_000)], 431),
    ],
)
def test_refused(method: bytes, text: bytes, headers: list[tuple[bytes, bytes]], status: int) -> None:
    asked = read_request(method, text, b"1.1", headers)
    assert isinstance(asked, Refusal)
    assert asked.status == status


def test_another_version_of_http_is_refused() -> None:
    assert isinstance(read_request(b"PRI", b"*", b"2.0", []), Refusal)


def test_a_request_inside_a_tunnel_names_the_tunnels_host() -> None:
    target = Target("example.com", 80)
    asked = read_inner_request(target, b"/x", b"1.1", [(b"Host", b"Example.com")])
    assert isinstance(asked, Forward)
    refused = read_inner_request(target, b"/x", b"1.1", [(b"Host", b"other.example")])
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.SERVER_NAME_DIFFERS
    assert isinstance(read_inner_request(target, b"http://other.example/", b"1.1", HOST), Refusal)


@given(st.binary(max_size=80))
def test_any_target_is_read_or_refused(text: bytes) -> None:
    for method in (b"CONNECT", b"GET"):
        read_request(method, text, b"1.1", HOST)
        read_request(method, b"http://" + text, b"1.1", HOST)


def test_an_offer_of_http_2_is_left_out_and_the_request_passes() -> None:
    offer = [(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade, HTTP2-Settings"), (b"HTTP2-Settings", b"AAMAAABk")]
    found = read_request(b"GET", b"http://example.com/", b"1.1", [(b"Host", b"example.com"), *offer])
    assert isinstance(found, Forward)
    assert found.headers == [(b"host", b"example.com"), (b"connection", b"close")]
