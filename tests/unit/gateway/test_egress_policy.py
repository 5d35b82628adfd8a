"""What each policy allows, by name and port alone."""

import pytest

from jelmore_gateway.egress.policy import Policy, Reason, Target
from jelmore_protocol.network import Network, parse_rule

PACKAGES = (parse_rule("packages.example"), parse_rule("*.mirror.example"))


def policy(mode: str, *allow: str) -> Policy:
    return Policy.of(Network.model_validate({"mode": mode, "allow": allow}), PACKAGES)


@pytest.mark.parametrize(
    ("chosen", "host", "port", "reason"),
    [
        (policy("none"), "packages.example", 443, Reason.NO_NETWORK),
        (policy("none", "packages.example"), "packages.example", 443, Reason.NO_NETWORK),
        (policy("packages"), "packages.example", 443, None),
        (policy("packages"), "packages.example", 22, Reason.PORT_NOT_ALLOWED),
        (policy("packages"), "deb.mirror.example", 80, None),
        (policy("packages"), "mirror.example", 80, Reason.HOST_NOT_ALLOWED),
        (policy("packages"), "example.com", 443, Reason.HOST_NOT_ALLOWED),
        (policy("packages", "example.com"), "example.com", 443, None),
        (policy("custom", "example.com"), "packages.example", 443, Reason.HOST_NOT_ALLOWED),
        (policy("custom", "example.com:8443"), "example.com", 8443, None),
        (policy("custom", "example.com:8443"), "example.com", 443, Reason.PORT_NOT_ALLOWED),
        (policy("custom", "example.com"), "93.184.216.34", 443, Reason.LITERAL_ADDRESS),
        (policy("custom", "93.184.216.34"), "93.184.216.34", 443, None),
        (policy("open"), "example.com", 443, None),
        (policy("open"), "example.com", 80, None),
        (policy("open"), "example.com", 22, Reason.PORT_NOT_ALLOWED),
        (policy("open"), "example.com", 25, Reason.PORT_NOT_ALLOWED),
        (policy("open"), "example.com", 5432, Reason.PORT_NOT_ALLOWED),
        (policy("open", "example.com:22"), "example.com", 22, None),
        (policy("open"), "postgres", 443, Reason.HOST_NOT_ALLOWED),
        (policy("open"), "93.184.216.34", 443, Reason.LITERAL_ADDRESS),
        (policy("open"), "2606:2800:220:1::1", 443, Reason.LITERAL_ADDRESS),
    ],
)
def test_policies(chosen: Policy, host: str, port: int, reason: Reason | None) -> None:
    refusal = chosen.refusal(Target(host, port))
    assert (refusal.reason if refusal else None) is reason
    assert refusal is None or host in refusal.text


def test_only_a_listed_port_may_carry_other_protocols() -> None:
    chosen = policy("custom", "example.com:22", "example.com")
    assert chosen.lists(Target("example.com", 22))
    assert not chosen.lists(Target("example.com", 443))
