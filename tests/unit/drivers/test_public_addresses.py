"""Which addresses a webhook may call: public ones, and what the operator allows."""

import ipaddress

import pytest

from jelmore.drivers.http_webhooks import HttpWebhooks
from jelmore.drivers.public_addresses import AllowedHosts, is_public
from jelmore.session.errors import InvalidRequestError


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.17.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "::ffff:169.254.169.254",
    ],
)  # fmt: skip
def test_private_addresses(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


def test_what_the_operator_allows() -> None:
    allowed = AllowedHosts.parse(["Hooks.Internal", "127.0.0.1", "10.1.0.0/16", "[::1]"])
    for text in ("127.0.0.1", "10.1.2.3", "::1", "::ffff:10.1.2.3", "1.1.1.1"):
        assert allowed.allows(ipaddress.ip_address(text)), text
    for text in ("127.0.0.2", "10.2.0.1"):
        assert not allowed.allows(ipaddress.ip_address(text)), text
    assert allowed.allows_name("hooks.internal.")
    assert not allowed.allows_name("other.internal")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?x=1",
        "https://example.com:8443",
        "http://127.0.0.1:9000/hook",
        "https://127.0.0.1",
        "http://hooks.internal/a",
    ],
)
def test_urls_that_may_be_called(url: str) -> None:
    HttpWebhooks(AllowedHosts.parse(["127.0.0.1", "hooks.internal"])).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "http://example.com", "ftp://example.com", "https://", "https://user:pw@example.com",
        "https://example.com/#a", "https://example.com:99999", "https://exa mple.com", "https://ex\u00e4mple.com",
        "https://10.0.0.1", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest",
        "https://[bad", "https://example.com/\r\nX: y",
    ],
)  # fmt: skip
def test_urls_that_are_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^url: "):
        HttpWebhooks(AllowedHosts.parse(["127.0.0.1"])).check(url)


@pytest.mark.parametrize("host", ["localhost", "0x7f000001"])
async def test_a_name_with_a_private_address_is_not_dialled(host: str) -> None:
    sender = HttpWebhooks(AllowedHosts(), timeout_s=5)
    try:
        sent = await sender.send(f"https://{host}:9/", {}, b"{}")
    finally:
        await sender.close()
    assert sent.status is None
    assert "not a public address" in str(sent.error)
