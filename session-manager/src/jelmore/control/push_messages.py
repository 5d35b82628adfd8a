"""Messages to push services: encrypted for a browser (RFC 8291) and signed by this installation (RFC 8292).

The push service is somebody else's: it sees the length of a message, when it is sent, and nothing of its content.
Pure, apart from the random numbers; tests give them, and compare with the example of RFC 8291.
"""

import base64
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_MESSAGE_BYTES: Final = 3000
"""Push services take 4096 bytes at least (RFC 8030), with 103 bytes of encryption around a message."""

TTL_S: Final = 3600
"""How long a push service keeps a message for a browser that is away. Later, the question is rarely of use."""

_RECORD_BYTES: Final = 4096
_TOKEN_S: Final = 12 * 3600
_CURVE: Final = ec.SECP256R1()
_POINT_BYTES: Final = 65
_AUTH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Browser:
    """The keys of a subscription in base64url: `key` is the browser's public key (`p256dh`), `auth` a secret."""

    key: str
    auth: str

    def check(self) -> None:
        """Raise ValueError, which names the field, for keys that no browser makes."""
        try:
            _public(unpadded(self.key))
        except ValueError:
            raise ValueError("keys.p256dh: must be an uncompressed P-256 point in base64url") from None
        try:
            fits = len(unpadded(self.auth)) == _AUTH_BYTES
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"keys.auth: must be {_AUTH_BYTES} bytes in base64url")


def new_push_key() -> str:
    """Return a new P-256 private key as PEM."""
    return (
        ec.generate_private_key(_CURVE)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_text(private_pem: str) -> str:
    """Return the public key that browsers subscribe with, in base64url."""
    return padless(_point(_private(private_pem).public_key()))


def encrypted(
    message: bytes, browser: Browser, *, sender: ec.EllipticCurvePrivateKey | None = None, salt: bytes | None = None
) -> bytes:
    """Return a message in one record of the coding aes128gcm. Raises ValueError for one that is too long, or bad keys.

    `sender` and `salt` are used once; they are random unless a test gives them.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a push message is at most {MAX_MESSAGE_BYTES} bytes")
    sender, salt = sender or ec.generate_private_key(_CURVE), salt or secrets.token_bytes(16)
    theirs, ours = unpadded(browser.key), _point(sender.public_key())
    shared = sender.exchange(ec.ECDH(), _public(theirs))
    secret = _derived(shared, unpadded(browser.auth), b"WebPush: info\0" + theirs + ours, 32)
    key = _derived(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(secret, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + _RECORD_BYTES.to_bytes(4, "big") + bytes([len(ours)]) + ours
    return header + AESGCM(key).encrypt(nonce, message + b"\x02", None)  # 2: the last record


def push_headers(endpoint: str, private_pem: str, contact: str, topic: str) -> Mapping[str, str]:
    """Return the headers of a message. A later one with the same `topic` replaces it at the push service."""
    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": int(time.time()) + _TOKEN_S, "sub": contact}
    token = jwt.encode(claims, private_pem, algorithm="ES256")
    return {
        "Authorization": f"vapid t={token}, k={public_text(private_pem)}",
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(TTL_S),
        "Topic": topic,
        "Urgency": "high",
    }


def padless(data: bytes) -> str:
    """Return base64url without padding, as the specifications of web push have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpadded(text: str) -> bytes:
    """Return what base64url with or without padding holds. Raises ValueError."""
    plain = text.rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)


def _public(point: bytes) -> ec.EllipticCurvePublicKey:
    if len(point) != _POINT_BYTES:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _private(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the push key is no elliptic curve key")
    return key


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
