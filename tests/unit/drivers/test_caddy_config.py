"""What Caddy's configuration must hold whatever the settings are."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jelmore.drivers.caddy_config import EdgeOptions, caddy_config
from jelmore.drivers.paths import MANAGER_SLOTS, RunPaths

PLAIN = EdgeOptions(
    paths=RunPaths(Path("/run/jelmore")),
    public_url="http://localhost",
    http_listen=":80",
    https_listen=":443",
    tls="acme",
)
SECURE = replace(PLAIN, public_url="https://jelmore.example.org")


def _proxies(node: Any) -> list[dict[str, Any]]:
    """Return every reverse proxy anywhere in a configuration."""
    if isinstance(node, list):
        return [found for each in node for found in _proxies(each)]
    if not isinstance(node, dict):
        return []
    here = [node] if node.get("handler") == "reverse_proxy" else []
    return here + [found for each in node.values() for found in _proxies(each)]


@pytest.mark.parametrize("options", [PLAIN, SECURE])
def test_every_hop_is_unbuffered_and_outlives_a_reload(options: EdgeOptions) -> None:
    proxies = _proxies(caddy_config(options))
    assert len(proxies) == 7 + MANAGER_SLOTS  # one for the metrics of each manager
    for proxy in proxies:
        assert proxy["flush_interval"] == -1
        assert proxy["stream_close_delay"] == "24h"
        assert proxy["transport"]["dial_timeout"]


def test_the_same_settings_give_the_same_configuration() -> None:
    assert json.dumps(caddy_config(PLAIN)) == json.dumps(caddy_config(PLAIN))


def test_certificates_are_asked_for_only_where_they_are_wanted() -> None:
    assert "tls" not in caddy_config(PLAIN)["apps"]
    servers = caddy_config(PLAIN)["apps"]["http"]["servers"]
    assert all(server["automatic_https"] == {"disable": True} for server in servers.values())
    secure = caddy_config(SECURE)["apps"]
    assert secure["tls"]["automation"]["policies"] == [
        {"subjects": ["jelmore.example.org"], "issuers": [{"module": "acme"}]}
    ]
    assert not secure["pki"]["certificate_authorities"]["local"]["install_trust"]
