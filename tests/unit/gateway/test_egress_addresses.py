"""Which addresses are dialled."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_gateway.egress.addresses import AddressRules, local_addresses

RULES = AddressRules()
PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "2606:2800:220:1:248:1893:25c8:1946",
    "::ffff:93.184.216.34",
    "64:ff9b::5db8:d822",
]
DENIED = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.1 169.254.169.254 169.254.170.2 172.16.0.1
172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16 100.100.100.200
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 2002:7f00:1:: 2002:5db8:d822::1
2606:2800::5efe:10.0.0.1 2606:2800::200:5efe:127.0.0.1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
4000::1
"""


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_dialled(text: str) -> None:
    assert RULES.denial(ip_address(text)) is None


@pytest.mark.parametrize("text", DENIED.split())
def test_others_are_not(text: str) -> None:
    assert RULES.denial(ip_address(text))


@given(st.ip_addresses(v=4))
def test_no_address_that_python_calls_private_is_dialled_in_any_form(address: IPv4Address) -> None:
    forms = [address, ip_address(f"::ffff:{address}"), ip_address(f"64:ff9b::{address}")]
    denied = [RULES.denial(form) is not None for form in forms]
    assert len(set(denied)) == 1
    if not address.is_global or address.is_multicast:
        assert all(denied)


def test_a_deployment_adds_ranges_and_makes_exceptions() -> None:
    rules = AddressRules.parse(denied=["93.184.216.0/24"], allowed=["10.1.0.0/16"])
    assert rules.denial(ip_address("93.184.216.34")) == "denied by this deployment"
    assert rules.denial(ip_address("64:ff9b::5db8:d822")) == "denied by this deployment"
    assert rules.denial(ip_address("10.1.2.3")) is None
    assert rules.denial(ip_address("10.2.2.3")) == "private"
    with pytest.raises(ValueError, match="nonsense"):
        AddressRules.parse(denied=["nonsense"])


def test_this_machines_own_public_address_is_denied() -> None:
    own = local_addresses(
        "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 93.184.216.0\n        /24 link UNICAST\n"
        "     |-- 93.184.216.34\n        /32 host LOCAL\n",
        "26062800022000010248189325c81946 02 40 00 80     eth0\n",
    )
    assert own == {ip_address("93.184.216.34"), ip_address("2606:2800:220:1:248:1893:25c8:1946")}
    for text in ("93.184.216.34", "::ffff:93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"):
        assert RULES.denial(ip_address(text), own) == "this machine's own address"
    assert RULES.denial(ip_address("93.184.216.35"), own) is None
