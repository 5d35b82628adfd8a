"""The names of ports and the headers that pass them."""

import base64
from uuid import UUID

import jwt
import pytest

from jelmore.api.port_headers import (
    is_foreign,
    is_ours,
    offered_grants,
    request_headers,
    response_headers,
    split_token,
)
from jelmore.api.port_names import PortName, PortNames

ID = "01a21dec-d2b6-714d-9272-64d0d33d23f8"
OTHER = "01a21dec-d2b6-714d-9272-64d0d33d23f9"
NAMES = PortNames("ports.example", "https://jelmore.example:8443")
NAME = PortName(3000, UUID(ID))


@pytest.mark.parametrize(
    "host", [f"3000--{ID}.ports.example", f"3000--{ID}.PORTS.example:8443", f"3000--{ID.upper()}.ports.example."]
)
def test_a_name_is_read(host: str) -> None:
    assert NAMES.parse(host) == NAME


@pytest.mark.parametrize(
    "host",
    [
        "",
        "ports.example",
        "jelmore.example",
        f"3000-{ID}.ports.example",
        f"03000--{ID}.ports.example",
        f"0--{ID}.ports.example",
        f"65536--{ID}.ports.example",
        f"-1--{ID}.ports.example",
        f"٣٠٠٠--{ID}.ports.example",
        f"3000--{ID[:-1]}.ports.example",
        f"3000--{ID.replace('-', '')}.ports.example",
        f"x.3000--{ID}.ports.example",
        f"3000--{ID}.x.ports.example",
        f"3000--{ID}.evil.example",
        f"3000--{ID}ports.example",
        f"3000--{ID}.ports.example.evil.example",
        f"3000--{ID}.ports.example@evil.example",
        f"evil@3000--{ID}.ports.example",
        f"3000--{ID}.ports.example/..",
        f"3000--{ID}.ports.example, jelmore.example",
    ],
)
def test_every_other_name_is_none_of_a_port(host: str) -> None:
    assert NAMES.parse(host) is None


def test_without_a_host_there_are_no_names() -> None:
    none = PortNames("", "https://jelmore.example")
    assert not none
    assert none.parse(f"3000--{ID}.") is None


def test_urls_are_changed_both_ways() -> None:
    origin = f"https://3000--{ID}.ports.example:8443"
    assert NAMES.origin(NAME) == origin
    assert NAMES.inward(origin, NAME.session_id) == "http://localhost:3000"
    assert NAMES.inward(f"{origin}/a?b", NAME.session_id) == "http://localhost:3000/a?b"
    assert NAMES.inward(origin, UUID(OTHER)) == origin
    assert NAMES.inward("https://[", NAME.session_id) == "https://["
    assert NAMES.outward("http://localhost:3000/a", NAME.session_id) == f"{origin}/a"
    for kept in ("/a", "http://localhost:3000.evil/", "http://localhost:30000000/", "https://evil.example/", "*"):
        assert NAMES.outward(kept, NAME.session_id) == kept


def test_the_token_is_taken_out_of_the_query() -> None:
    assert split_token(b"a=%2F&jelmore_token=x.y&b") == ("x.y", "a=%2F&b")
    assert split_token(b"jelmore%5Ftoken=x") == ("x", "")
    assert split_token(b"a=1&&b=2") == (None, "a=1&&b=2")


def raw(**headers: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


def test_the_server_sees_nothing_of_ours_and_nothing_of_the_connection() -> None:
    token = jwt.encode({"iss": "jelmore"}, "k" * 32)
    sent = dict(
        request_headers(
            raw(
                host=f"3000--{ID}.ports.example:8443",
                cookie="a=1; __Host-jelmore_port=x; jelmore_login=y;__Host-jelmore_login=v;jelmore_port=z; b=2=3",
                authorization=f"Bearer {token}",
                x_api_key="jlm_x",
                connection="x-hop, keep-alive",
                x_hop="1",
                upgrade="h2c",
                te="trailers",
                transfer_encoding="chunked",
                forwarded="for=evil",
                x_forwarded_for="evil",
                x_forwarded_prefix="evil",
                x_jelmore_session=OTHER,
                origin=f"https://3000--{ID}.ports.example:8443",
                referer=f"https://5173--{ID}.ports.example:8443/x",
                accept="*/*",
            ),
            NAMES,
            NAME,
            "192.0.2.7",
        )
    )
    assert sent == {
        "Host": "localhost:3000",
        "cookie": "a=1; b=2=3",
        "origin": "http://localhost:3000",
        "referer": "http://localhost:5173/x",
        "accept": "*/*",
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-host": f"3000--{ID}.ports.example:8443",
        "x-forwarded-proto": "https",
    }


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ("Bearer jlm_x", True),
        ("jlt_x", True),
        (f"Bearer {jwt.encode({'iss': 'jelmore'}, 'k' * 32)}", True),
        (f"Bearer {jwt.encode({'iss': 'app'}, 'k' * 32)}", False),
        ("Basic YTpi", False),
        ("Bearer a.b.c", False),
        ("Bearer a.W10.c", False),
    ],
)
def test_credentials_of_the_app_pass(value: str, ours: bool) -> None:
    assert is_ours(value) is ours


def test_a_credential_of_the_app_may_be_nested_without_end() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 40_000).decode().rstrip("=")
    assert is_ours(f"Bearer a.{nested}.c") is False


def test_a_response_sets_cookies_of_its_own_host_only() -> None:
    sent = response_headers(
        [
            (b"Set-Cookie", b"a=1; Domain=ports.example; Path=/"),
            (b"Set-Cookie", b"__Host-jelmore_port=x"),
            (b"Set-Cookie", b" jelmore_login =x; Path=/"),
            (b"Set-Cookie", b"__Host-jelmore_login=x; Path=/; Secure"),
            (b"Location", b"http://localhost:3000/x"),
            (b"Access-Control-Allow-Origin", b"http://localhost:5173"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Length", b"3"),
            (b"Connection", b"X-Hop"),
            (b"X-Hop", b"1"),
            (b"Alt-Svc", b"h3"),
            (b"Clear-Site-Data", b'"*"'),
            (b"Cross-Origin-Resource-Policy", b"cross-origin"),
            (b"Content-Security-Policy", b"default-src 'self'"),
            (b"Referrer-Policy", b"origin"),
        ],
        NAMES,
        NAME,
    )
    assert sent == [
        (b"set-cookie", b"a=1; Path=/"),
        (b"location", f"https://3000--{ID}.ports.example:8443/x".encode()),
        (b"access-control-allow-origin", f"https://5173--{ID}.ports.example:8443".encode()),
        (b"content-security-policy", b"default-src 'self'"),
        (b"referrer-policy", b"origin"),
        (b"x-robots-tag", b"noindex"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"content-security-policy", b"frame-ancestors 'self'"),
    ]


def test_a_few_cookies_of_our_name_are_looked_at() -> None:
    many = "; ".join(f"jelmore_port={number}" for number in range(20))
    assert offered_grants(raw(cookie=many)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"origin": f"https://3000--{ID}.ports.example:8443"}, False),
        ({"origin": f"https://5173--{ID}.ports.example"}, False),
        ({"origin": f"http://3000--{ID}.ports.example"}, True),
        ({"origin": f"https://3000--{OTHER}.ports.example:8443"}, True),
        ({"origin": "https://jelmore.example:8443"}, True),
        ({"origin": "null"}, True),
        ({"origin": "null", "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}, False),
        ({"origin": "null", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ({"origin": "null", "sec-fetch-site": "none"}, True),
        ({"origin": "https://["}, True),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, True),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, True),
    ],
)
def test_pages_of_other_sessions_and_sites_are_foreign(headers: dict[str, str], foreign: bool) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_foreign(pairs, NAMES, NAME, handshake=False) is foreign
