"""JELMORE_CA_FILE in the quick start: trusted beside the public authorities, and refused by name."""

import ssl
from pathlib import Path

import certifi
import pytest

from jelmore.drivers.paths import RunPaths
from jelmore.embedded.authorities import AuthoritiesError, with_authorities
from jelmore.embedded.children import GatewayProcess, McpServersProcess


def first_of(path: str) -> str:
    text = Path(path).read_text()
    end = "-----END CERTIFICATE-----"
    return text[text.index("-----BEGIN") : text.index(end) + len(end)] + "\n"


@pytest.mark.parametrize("given", [True, False])
def test_the_file_is_trusted_beside_the_public_authorities(tmp_path: Path, *, given: bool) -> None:
    (tmp_path / "own.pem").write_text(first_of(certifi.where()))
    (tmp_path / "public.pem").write_text("# the public ones\n")
    before = {"JELMORE_CA_FILE": str(tmp_path / "own.pem"), "OTHER": "1"}
    before |= {"SSL_CERT_FILE": str(tmp_path / "public.pem")} if given else {}
    for _ in range(2):
        after = with_authorities(before, tmp_path / "data")
    made = Path(after["SSL_CERT_FILE"])
    assert after["GIT_SSL_CAINFO"] == str(made)
    assert after["OTHER"] == "1"
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["authorities.pem"]
    trusted = len(ssl.create_default_context(cafile=str(made)).get_ca_certs())
    assert (trusted == 1) if given else (trusted > 50)
    assert ("# the public ones" in made.read_text()) is given


def test_without_the_setting_nothing_changes(tmp_path: Path) -> None:
    for before in ({"SSL_CERT_FILE": "/x"}, {"JELMORE_CA_FILE": ""}):
        assert with_authorities(before, tmp_path / "data") == before
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "no certificate|not contain a certificate"),
        (b"a key", "no certificate|not contain a certificate"),
        (b"\xff\xfe", "is not a PEM file"),
        (b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", "own.pem"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "own.pem").write_bytes(content)
    with pytest.raises(AuthoritiesError, match=f"JELMORE_CA_FILE: .*({words})"):
        with_authorities({"JELMORE_CA_FILE": str(tmp_path / "own.pem")}, tmp_path / "data")


def test_the_gateway_and_the_servers_get_the_list(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text(first_of(certifi.where()))
    environment = with_authorities({"JELMORE_CA_FILE": str(tmp_path / "own.pem")}, tmp_path / "data")
    paths = RunPaths(tmp_path / "run")
    for kind in (GatewayProcess, McpServersProcess):
        given = kind(tmp_path / "g", paths, environment).environment()
        assert given["SSL_CERT_FILE"] == given["GIT_SSL_CAINFO"] == str(tmp_path / "data" / "authorities.pem")
