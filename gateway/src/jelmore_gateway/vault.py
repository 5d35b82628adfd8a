"""Encrypts credentials at rest with AES-256-GCM, and opens them for the calls that need them.

The ciphertext is bound to the credential's name and owner: moved to another row, it cannot be opened. Several keys may
be in use: the first encrypts, each opens what it encrypted. So a key is changed by putting a new one in front.
"""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jelmore_protocol.gateway import CredentialKey

KEY_BYTES: Final = 32
VALUE: Final = "value"
_NONCE_BYTES: Final = 12
_KEY_FILE: Final = "secrets.key"


class VaultError(Exception):
    """A credential cannot be encrypted or opened. The text says why, without any secret."""


class KeyFormatError(ValueError):
    """A key is not 32 bytes in base64."""


class Vault:
    """Seals and opens credentials. `read_keys` returns the keys, the present one first; it is called for each use."""

    def __init__(self, read_keys: Callable[[], Sequence[bytes]]) -> None:
        self._read_keys = read_keys

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts now. Raises VaultError."""
        return key_id(self._keys()[0])

    def seal(self, whose: CredentialKey, value: str, kind: str = VALUE) -> tuple[str, str]:
        """Return the encrypted value and the id of its key. It opens only as the same kind. Raises VaultError."""
        key = self._keys()[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, value.encode(), _bound_to(whose, kind))
        return base64.b64encode(sealed).decode(), key_id(key)

    def open(self, whose: CredentialKey, sealed: str, kind: str = VALUE) -> str:
        """Return the value. Raises VaultError when no key opens it under this name, owner and kind."""
        try:
            raw = base64.b64decode(sealed, validate=True)
        except (binascii.Error, ValueError):
            raise VaultError(f"the credential {whose.name} is damaged") from None
        for key in self._keys():
            try:
                return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(whose, kind)).decode()
            except (InvalidTag, ValueError):
                continue
        raise VaultError(f"no key opens the credential {whose.name}; see JELMORE_SECRETS_KEY")

    def _keys(self) -> Sequence[bytes]:
        try:
            keys = self._read_keys()
        except (OSError, KeyFormatError) as error:
            raise VaultError(f"the keys of the credentials cannot be read: {error}") from None
        if not keys:
            raise VaultError("there is no key for credentials")
        return keys


def key_id(key: bytes) -> str:
    """Return a short name of a key that reveals nothing about it."""
    return hashlib.sha256(b"jelmore key id" + key).hexdigest()[:12]


def parse_keys(text: str) -> list[bytes]:
    """Return the keys in `text`: base64, separated by commas, spaces or lines. Raises KeyFormatError."""
    keys = []
    for word in text.replace(",", " ").split():
        try:
            key = base64.b64decode(word, altchars=b"-_" if set(word) & {"-", "_"} else None, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyFormatError(f"a key must be {KEY_BYTES} bytes in base64 (openssl rand -base64 {KEY_BYTES})")
        keys.append(key)
    return keys


def key_reader(environ: Mapping[str, str], state_dir: Path) -> Callable[[], Sequence[bytes]]:
    """Return how the keys are read: from JELMORE_SECRETS_KEY, a file, or a key of the gateway's own state.

    The file is read at each use, so keys change without a restart. Raises KeyFormatError for a bad setting.
    """
    if text := environ.get("JELMORE_SECRETS_KEY"):
        keys = parse_keys(text)
        return lambda: keys
    named = environ.get("JELMORE_SECRETS_KEY_FILE")
    path = Path(named).expanduser() if named else state_dir / _KEY_FILE

    def read() -> Sequence[bytes]:
        if not named:
            _make_key(path)
        return parse_keys(path.read_text(encoding="ascii"))

    return read


def _make_key(path: Path) -> None:
    """Write a new key unless there is one. May run twice: a crash or a full disk leaves no key, never half of one."""
    with suppress(FileNotFoundError):
        if path.stat().st_size:
            return
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:  # another gateway's, that may be in use; or an empty one, as an earlier version left it
            if not path.stat().st_size:
                draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _bound_to(whose: CredentialKey, kind: str) -> bytes:
    """Return what a ciphertext is bound to; that of a plain value is as it was before there were kinds."""
    bound = f"{whose.scope.value}\0{whose.owner}\0{whose.name}"
    return (bound if kind == VALUE else f"{bound}\0{kind}").encode()
