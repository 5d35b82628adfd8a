"""The grammar of host rules, which the API and the gateway share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jelmore_protocol.network import HostRule, Network, NetworkMode, normalized_host, parse_rule, split_authority


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Example.COM.", HostRule("example.com")),
        ("example.com:8443", HostRule("example.com", port=8443)),
        ("*.example.com", HostRule("example.com", below=True)),
        ("*.example.com:22", HostRule("example.com", below=True, port=22)),
        ("192.0.2.7", HostRule("192.0.2.7")),
        ("192.0.2.7:81", HostRule("192.0.2.7", port=81)),
        ("[2001:DB8::1]:443", HostRule("2001:db8::1", port=443)),
        ("2001:db8::1", HostRule("2001:db8::1")),
        ("_dmarc.example.com", HostRule("_dmarc.example.com")),
    ],
)
def test_rules(text: str, rule: HostRule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.com",
        "foo*.example.com",
        "a.*.example.com",
        "*.192.0.2.7",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "1.2.3.4.5",
        "example..com",
        "-example.com",
        "exa mple.com",
        "bücher.example",
        "https://example.com",
        "example.com/path",
        "user@example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:٤٤٣",
        "example.com:8 0",
        "fe80::1%eth0",
        "2001:db8::1:443:x",
        f"{'a' * 64}.example.com",
        f"{'a.' * 130}com",
        "example.com\r\nx",
        "example.com\x00",
    ],
)
def test_what_is_no_rule_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rule(text)
    with pytest.raises(ValidationError, match="allow"):
        Network.model_validate({"mode": "custom", "allow": [text]})


@pytest.mark.parametrize(
    ("rule", "host", "port", "allowed"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "example.com", 80, True),
        ("example.com", "example.com", 22, False),
        ("example.com", "www.example.com", 443, False),
        ("example.com", "notexample.com", 443, False),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "evilexample.com", 443, False),
        ("example.com:22", "example.com", 22, True),
        ("example.com:22", "example.com", 443, False),
    ],
)
def test_what_a_rule_allows(rule: str, host: str, port: int, allowed: bool) -> None:
    assert parse_rule(rule).allows(host, port) is allowed


@given(st.text(max_size=60))
def test_a_normalized_host_does_not_change(text: str) -> None:
    try:
        host = normalized_host(text)
    except ValueError:
        return
    assert normalized_host(host) == host
    assert split_authority(f"[{host}]:1" if ":" in host else f"{host}:1", None) == (host, 1)


def test_modes_are_in_order() -> None:
    assert [mode.rank for mode in NetworkMode] == [0, 1, 2, 3]
    assert Network.model_validate({}).mode is NetworkMode.NONE
