"""What a session's network may be, within a deployment's and a profile's ceiling."""

from typing import Any

import pytest

from jelmore.session.errors import InvalidRequestError
from jelmore.session.network import MAX_APPROVED, MODES, checked_network, with_approved
from jelmore.session.profiles import Ceiling, Profile
from jelmore_protocol.network import Network, NetworkMode


def test_the_modes_are_those_of_the_protocol() -> None:
    assert list(MODES) == [mode.value for mode in NetworkMode]


@pytest.mark.parametrize(
    ("asked", "ceiling", "kept"),
    [
        ({}, "none", {}),
        ({"mode": "none"}, "none", {}),
        ({"mode": "packages"}, "packages", {"mode": "packages", "allow": []}),
        ({"mode": "packages", "allow": ["a.example"]}, "custom", {"mode": "packages", "allow": ["a.example"]}),
        ({"mode": "custom", "allow": ["a.example"]}, "open", {"mode": "custom", "allow": ["a.example"]}),
        ({"mode": "open"}, "open", {"mode": "open", "allow": []}),
        ({"mode": "none", "ask": ["*"]}, "custom", {"mode": "none", "allow": [], "ask": ["*"]}),
        ({"mode": "custom", "ask": ["a.example"]}, "open", {"mode": "custom", "allow": [], "ask": ["a.example"]}),
    ],
)
def test_kept(asked: dict[str, Any], ceiling: str, kept: dict[str, Any]) -> None:
    assert checked_network(asked, ceiling, packages=True) == kept


@pytest.mark.parametrize(
    ("asked", "ceiling", "named"),
    [
        ({"mode": "packages"}, "none", "network: packages"),
        ({"mode": "open"}, "custom", "JELMORE_MAX_NETWORK=custom"),
        ({"mode": "packages", "allow": ["a.example"]}, "packages", "network: custom"),
        ({"mode": "none", "allow": ["a.example"]}, "open", "network.allow"),
        ({"mode": "custom"}, "open", "network.allow"),
        ({"mode": "none", "ask": ["*"]}, "packages", "network: custom"),
        ({"mode": "packages", "approved": ["a.example:443"]}, "packages", "network: custom"),
        ({"mode": "everything"}, "open", "network.mode"),
    ],
)
def test_refused_by_name(asked: dict[str, Any], ceiling: str, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        checked_network(asked, ceiling, packages=True)


def test_nobody_can_be_asked_where_sandboxes_use_the_network_of_the_machine() -> None:
    with pytest.raises(InvalidRequestError, match=r"network\.ask: has no effect with JELMORE_RUNTIME=local"):
        checked_network({"mode": "none", "ask": ["*"]}, "open", packages=True, kept_in=False)
    assert checked_network({"mode": "open"}, "open", packages=True, kept_in=False) == {"mode": "open", "allow": []}


def test_packages_need_hosts() -> None:
    with pytest.raises(InvalidRequestError, match="JELMORE_PACKAGE_HOSTS"):
        checked_network({"mode": "packages"}, "open", packages=False)


def test_a_profile_bounds_it_further() -> None:
    profile = Profile("small", ceiling=Ceiling(network="packages"))
    profile.check({"network": "packages"})
    profile.check({"network": {"mode": "none", "allow": []}})
    for wide in ("open", {"mode": "packages", "allow": ["a.example"]}, {"mode": "custom", "allow": ["a.example"]}):
        with pytest.raises(InvalidRequestError, match="network: must be at most packages"):
            profile.check({"network": wide})


def test_an_approval_is_added_once_and_the_oldest_make_room() -> None:
    network = with_approved({}, "a.example", 443)
    assert network == {"mode": "none", "allow": [], "approved": ["a.example:443"]}
    assert with_approved(network, "a.example", 443) == network
    assert with_approved(network, "::1", 443)["approved"] == ["a.example:443", "[::1]:443"]
    for number in range(MAX_APPROVED):
        network = with_approved(network, f"h{number}.example", 443)
    Network.model_validate(network)
    assert network["approved"][-1] == f"h{MAX_APPROVED - 1}.example:443"
    assert "a.example:443" not in network["approved"]


def test_a_profile_that_fixes_the_network_lets_approvals_be_taken_back() -> None:
    profile = Profile("asks", fixed={"network": {"mode": "none", "ask": ["*"]}})
    profile.check_change({"network": {"mode": "none", "allow": [], "ask": ["*"]}})
    with pytest.raises(InvalidRequestError, match="fixed"):
        profile.check_change({"network": {"mode": "none", "allow": [], "ask": ["*"], "approved": ["a.example"]}})
    Profile("some", fixed={"network": "packages"}).check_change({"network": {"mode": "packages", "allow": []}})
