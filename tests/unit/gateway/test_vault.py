"""Credentials at rest: opened by their own key, under their own name and owner, and by nothing else."""

import base64
import errno
import os
import stat
from pathlib import Path

import pytest

from jelmore_gateway.vault import KeyFormatError, Vault, VaultError, key_reader, parse_keys
from jelmore_protocol.gateway import CredentialKey, Scope

OLD, NEW = b"o" * 32, b"n" * 32
WHOSE = CredentialKey(scope=Scope.USER, owner="ann", name="github")


def text(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


def test_a_credential_is_opened_as_it_was_sealed_and_every_ciphertext_differs() -> None:
    vault = Vault(lambda: [OLD])
    sealed, key_id = vault.seal(WHOSE, "s3cret")
    assert vault.open(WHOSE, sealed) == "s3cret"
    assert key_id == vault.key_id
    assert b"s3cret" not in base64.b64decode(sealed)
    assert vault.seal(WHOSE, "s3cret")[0] != sealed


@pytest.mark.parametrize(
    "other",
    [
        CredentialKey(scope=Scope.USER, owner="bob", name="github"),
        CredentialKey(scope=Scope.SESSION, owner="ann", name="github"),
        CredentialKey(scope=Scope.USER, owner="ann", name="gitlab"),
    ],
)
def test_moved_to_another_owner_or_name_it_stays_closed(other: CredentialKey) -> None:
    vault = Vault(lambda: [OLD])
    with pytest.raises(VaultError, match="no key opens"):
        vault.open(other, vault.seal(WHOSE, "s3cret")[0])


def test_an_old_key_opens_what_it_sealed_until_it_is_taken_away() -> None:
    keys = [OLD]
    vault = Vault(lambda: keys)
    before, old_id = vault.seal(WHOSE, "s3cret")
    keys[:] = [NEW, OLD]
    assert vault.open(WHOSE, before) == "s3cret"
    after, new_id = vault.seal(WHOSE, vault.open(WHOSE, before))
    assert new_id == vault.key_id != old_id
    keys[:] = [NEW]
    assert vault.open(WHOSE, after) == "s3cret"
    with pytest.raises(VaultError):
        vault.open(WHOSE, before)


@pytest.mark.parametrize("damaged", ["", "AAAA", "not base64!", base64.b64encode(b"x" * 60).decode()])
def test_what_is_damaged_is_an_error_without_its_content(damaged: str) -> None:
    with pytest.raises(VaultError, match="github"):
        Vault(lambda: [OLD]).open(WHOSE, damaged)


def test_keys_are_32_bytes_in_base64() -> None:
    assert parse_keys(text(OLD, NEW)) == [OLD, NEW]
    assert parse_keys(text(OLD) + "\n" + text(NEW)) == [OLD, NEW]
    assert parse_keys(base64.urlsafe_b64encode(b"\xff" * 32).decode()) == [b"\xff" * 32]
    for bad in ("short", text(b"x" * 16), "*" * 44):
        with pytest.raises(KeyFormatError, match="32 bytes"):
            parse_keys(bad)


def test_keys_come_from_the_setting_a_file_that_may_change_or_the_state(tmp_path: Path) -> None:
    assert key_reader({"JELMORE_SECRETS_KEY": text(OLD)}, tmp_path)() == [OLD]
    named = tmp_path / "keys"
    named.write_text(text(OLD))
    read = key_reader({"JELMORE_SECRETS_KEY_FILE": str(named)}, tmp_path)
    assert read() == [OLD]
    named.write_text(text(NEW, OLD))
    assert read() == [NEW, OLD]
    own = key_reader({}, tmp_path)
    assert own() == own()
    assert stat.S_IMODE((tmp_path / "secrets.key").stat().st_mode) == 0o600
    with pytest.raises(VaultError, match="cannot be read"):
        Vault(key_reader({"JELMORE_SECRETS_KEY_FILE": str(tmp_path / "none")}, tmp_path)).seal(WHOSE, "x")


def test_a_key_that_could_not_be_written_whole_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk left an empty file, which was read as "no key" from then on."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    vault = Vault(key_reader({}, tmp_path))
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(VaultError, match="No space left"):
            vault.seal(WHOSE, "x")
    assert not (tmp_path / "secrets.key").exists()
    sealed, _ = vault.seal(WHOSE, "x")
    assert Vault(key_reader({}, tmp_path)).open(WHOSE, sealed) == "x"
    (tmp_path / "secrets.key").write_text("")  # as an earlier version left it
    assert vault.key_id


def test_of_two_gateways_that_begin_at_once_both_have_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Vault(key_reader({}, tmp_path)), Vault(key_reader({}, tmp_path))
    sealed: list[str] = []
    real = os.fsync

    def meanwhile(descriptor: int) -> None:
        real(descriptor)
        monkeypatch.setattr(os, "fsync", real)
        sealed.append(second.seal(WHOSE, "x")[0])

    monkeypatch.setattr(os, "fsync", meanwhile)
    first.seal(WHOSE, "y")
    assert Vault(key_reader({}, tmp_path)).open(WHOSE, sealed[0]) == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.key"]
