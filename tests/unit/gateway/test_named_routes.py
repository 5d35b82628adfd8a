"""Which server a request on a route leads to: the registered one, and never another."""

import pytest

from jelmore_gateway.addresses import denial
from jelmore_gateway.meter import meter_for
from jelmore_gateway.named_routes import find_credential, find_target, location_for, mcp_call, route_headers
from jelmore_gateway.refusals import RefusedError
from jelmore_protocol.gateway import GatewayConfig, Route, SandboxEntry, Scope, SealedCredential

ENTRY = SandboxEntry(key="k", session_id="s1", generation=1, user_id="ann")
CONFIG = GatewayConfig(
    digest="",
    routes=[
        Route(name="mcp/docs", url="https://docs.example/mcp"),
        Route(name="git/github.com", url="https://github.com/"),
        Route(name="mcp/bobs", url="https://bobs.example", users=["bob"]),
        Route(name="mcp/small", url="https://small.example", users=["ann"], profiles=["small"]),
    ],
)


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        ("/mcp/docs", "https://docs.example/mcp"),
        ("/mcp/docs?x=1", "https://docs.example/mcp?x=1"),
        ("/mcp/docs/sub/a?x=/../b", "https://docs.example/mcp/sub/a?x=/../b"),
        ("/git/github.com/a/b.git/info/refs?service=x", "https://github.com/a/b.git/info/refs?service=x"),
        ("/git/github.com/@scope%2fname", "https://github.com/@scope%2fname"),
    ],
)
def test_a_route_leads_to_its_server(asked: str, url: str) -> None:
    assert find_target(asked, CONFIG, ENTRY).url == url


@pytest.mark.parametrize(
    "asked",
    [
        "/mcp/none",
        "/mcp/bobs",
        "/mcp/small",
        "/mcp/",
        "/mcp",
        "/mcp/docs%2f..",
        "/mcp/..",
        "/pkg/github.com/a",
        "/mcp/DOCS",
    ],
)
def test_what_is_not_registered_for_the_session_does_not_exist(asked: str) -> None:
    with pytest.raises(RefusedError) as refused:
        find_target(asked, CONFIG, ENTRY)
    assert refused.value.status == 404


def test_a_route_of_a_profile_serves_its_sessions() -> None:
    entry = ENTRY.model_copy(update={"profile": "small"})
    assert find_target("/mcp/small/x", CONFIG, entry).url == "https://small.example/x"


@pytest.mark.parametrize(
    "rest", ["/..", "/../admin", "/a/../../b", "/%2e%2e/x", "/%252e%252e/x", "/a%2f..%2f..", "/\\x", "/a%00", "/./x"]
)
def test_a_path_does_not_climb_out_of_its_route(rest: str) -> None:
    with pytest.raises(RefusedError):
        find_target(f"/mcp/docs{rest}", CONFIG, ENTRY)


def test_the_credential_takes_the_place_of_what_the_sandbox_sends() -> None:
    sent = [
        ("Authorization", "Bearer forged"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Jelmore-Session", "s"),
        ("Origin", "http://127.0.0.1"),
        ("Host", "127.0.0.1"),
        ("Connection", "close"),
        ("Mcp-Session-Id", "m1"),
        ("Accept", "text/event-stream"),
        ("x-key", "forged"),
    ]
    route = Route(name="mcp/docs", url="https://docs.example", header="X-Key", prefix="")
    kept = [("Mcp-Session-Id", "m1"), ("Accept", "text/event-stream")]
    assert route_headers(sent, route, "real") == [*kept, ("X-Key", "real")]
    assert route_headers(sent, route, None) == kept
    assert route_headers([], CONFIG.routes[0], "real") == [("Authorization", "Bearer real")]


def test_the_narrowest_credential_of_a_name_is_used() -> None:
    def of(scope: Scope, owner: str = "") -> SealedCredential:
        return SealedCredential(scope=scope, owner=owner, name="n", sealed=f"{scope.value}{owner}", key_id="k")

    all_of_them = [of(Scope.DEPLOYMENT), of(Scope.USER, "bob"), of(Scope.USER, "ann"), of(Scope.SESSION, "s1")]
    for left in (4, 3, 1):
        found = find_credential("n", ENTRY, all_of_them[:left])
        assert found is not None
        assert found.scope is {4: Scope.SESSION, 3: Scope.USER, 1: Scope.DEPLOYMENT}[left]
    assert find_credential("n", ENTRY, [of(Scope.USER, "bob")]) is None
    assert find_credential("n", ENTRY.model_copy(update={"user_id": ""}), [of(Scope.USER, "")]) is None
    assert find_credential("other", ENTRY, all_of_them) is None


def test_a_redirect_stays_on_the_route_or_is_refused() -> None:
    target = find_target("/mcp/docs/a", CONFIG, ENTRY)
    assert location_for("/mcp/b?c=d", target) == "/mcp/docs/b?c=d"
    assert location_for("https://docs.example/mcp/b", target) == "/mcp/docs/b"
    for away in (
        "https://elsewhere.example/mcp",
        "http://docs.example/mcp",
        "/other",
        "/mcpx",
        "//elsewhere.example/mcp",
    ):
        with pytest.raises(RefusedError, match="redirects"):
            location_for(away, target)


def test_method_and_tool_are_read_and_nothing_else() -> None:
    assert mcp_call(b'{"method": "tools/call", "params": {"name": "search", "arguments": {"q": "secret"}}}') == (
        "tools/call",
        "search",
    )
    assert mcp_call(b'[{"method": "initialize", "params": {"name": "x"}}]') == ("initialize", "")
    for strange in (b"", b"[]", b"7", b'{"method": 1}', b"{", b'{"result": {}}'):
        assert mcp_call(strange) == ("", "")


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.215.14", True, True),
        ("2606:4700::1", True, True),
        ("10.0.0.7", False, True),
        ("127.0.0.1", False, True),
        ("fd00::7", False, True),
        ("::1", False, True),
        ("169.254.169.254", False, False),
        ("100.100.100.200", False, False),
        ("fd00:ec2::254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("fe80::1%eth0", False, False),
        ("not an address", False, False),
    ],
)
def test_where_a_route_may_lead(address: str, public: bool, private: bool) -> None:
    assert (denial(address, private=False) is None) is public
    assert (denial(address, private=True) is None) is private


@pytest.mark.parametrize(
    "body",
    [b"[" * 500_000, b'{"method":' + b"[" * 400_000, b"[" + b"[]," * 300_000 + b"[]]"],
    ids=["deep", "deeper in it", "many values"],
)
def test_a_hostile_message_is_unknown_and_costs_little(body: bytes) -> None:
    assert mcp_call(body) == ("", "")


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
def test_a_response_that_nests_deeply_is_not_metered_and_passes(media_type: str) -> None:
    meter = meter_for(media_type)
    deep = b'{"usage":' + b"[" * 200_000
    meter.feed(deep if media_type == "application/json" else b"data:" + deep + b"\n\n")
    meter.finish()
    assert not meter.tokens.found
