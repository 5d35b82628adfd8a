"""Which authorities a connection trusts, by the machine's files and variables."""

from pathlib import Path

import certifi
import pytest

from jelmore_client.core.trust import trusted, websocket_options


@pytest.mark.parametrize("url", ["https://jelmore.test", "HTTPS://Jelmore.test", "Wss://jelmore.test"])
def test_a_scheme_in_capitals_has_tls_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert trusted(url).get_ca_certs()
    assert websocket_options(url)["ssl"].get_ca_certs()


@pytest.mark.parametrize(("name", "more"), [("0a1b2c3d.0", False), ("README", True)])
def test_a_folder_of_authorities_is_enough(
    name: str, more: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """OpenSSL reads such a folder when it verifies a certificate: until then its authorities are in no list."""
    (tmp_path / name).touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'absent'}:{tmp_path}")
    assert bool(trusted("https://jelmore.test").get_ca_certs()) is more
