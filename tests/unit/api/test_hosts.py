"""Which names an installation answers to."""

import pytest

from jelmore.api.hosts import AllowedHosts
from jelmore.bootstrap.app import _own_names
from jelmore.settings import Settings

HOSTS = AllowedHosts(["Jelmore.example.com", "box.lan.", "*.Team.example"])


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "LOCALHOST:8080",
        "localhost.:80",
        "app.localhost",
        "127.0.0.1:8080",
        "192.0.2.7",
        "[::1]:8080",
        "[::1]",
        "jelmore.example.com",
        "JELMORE.example.com:443",
        "box.lan:80",
        "box.lan.",
        "a.team.example",
        "a.b.team.example:1",
    ],
)
def test_its_own_names_and_every_address_are_allowed(header: str) -> None:
    assert HOSTS.allows(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":80",
        "evil.example",
        "evil.example:8080",
        "jelmore.example.com.evil.example",
        "notbox.lan",
        "team.example",
        "evilteam.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "localhost:80:evil",
        "localhost:evil",
        "[::1]evil.example",
        "[::1",
        "[]",
        "evil.example@localhost",
        "localhost/evil",
        "a b",
    ],
)
def test_any_other_is_refused(header: str) -> None:
    assert not HOSTS.allows(header)


def test_a_star_allows_every_name_that_is_one() -> None:
    every = AllowedHosts(["*"])
    assert every.allows("evil.example")
    assert not every.allows("")


def test_the_machine_is_reached_by_its_name_on_the_local_network() -> None:
    assert _own_names("box") == ("box", "box.local")
    assert _own_names("box.example.com") == ("box.example.com", "box.local")


@pytest.mark.parametrize("text", ["https://box.lan", "box.lan:80", "box.lan/x", "a..*", "*.*.lan", "bad name", "*x"])
def test_a_setting_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host name; write it without scheme, port and path"):
        Settings(_env_file=None, allowed_hosts=f"good.lan, {text}")


def test_the_setting_is_a_list_of_names() -> None:
    settings = Settings(_env_file=None, allowed_hosts="box.lan, *.example.com,*")
    assert settings.allowed_host_list == ("box.lan", "*.example.com", "*")
