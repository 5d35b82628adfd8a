"""A push service with one browser: it checks who sends, and opens messages with the browser's private key.

Written from RFC 8291 and RFC 8292 alone, so that it agrees with no mistake of ours.
"""

import base64
import json
import os
from dataclasses import dataclass, field
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def binary(data: str) -> bytes:
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def opened(body: bytes, private: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """Return the message in a body of the coding aes128gcm. Raises what `cryptography` raises for another key."""
    salt, length = body[:16], body[20]
    sender, sealed = body[21 : 21 + length], body[21 + length :]
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
    mine = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)

    def derive(secret: bytes, salted: bytes, info: bytes, size: int) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=size, salt=salted, info=info).derive(secret)

    shared = derive(private.exchange(ec.ECDH(), theirs), auth, b"WebPush: info\x00" + mine + sender, 32)
    key = derive(shared, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = derive(shared, salt, b"Content-Encoding: nonce\x00", 12)
    plain = AESGCM(key).decrypt(nonce, sealed, None)
    return plain.rstrip(b"\x00").removesuffix(b"\x02")


@dataclass
class PushService:
    """Listens on loopback. `statuses` are given in order, the last one again and again."""

    statuses: list[int] = field(default_factory=lambda: [201])
    messages: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/send/{name}", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def subscription(self, name: str = "a") -> dict[str, Any]:
        """Return what the browser sends to subscribe."""
        point = self.private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return {"endpoint": f"{self.origin}/send/{name}", "keys": {"p256dh": text(point), "auth": text(self.auth)}}

    async def _take(self, request: web.Request) -> web.Response:
        scheme, _, parameters = request.headers["Authorization"].partition(" ")
        assert scheme == "vapid"
        given = dict(part.strip().split("=", 1) for part in parameters.split(","))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), binary(given["k"]))
        self.claims.append(jwt.decode(given["t"], key, algorithms=["ES256"], audience=self.origin))
        self.keys.add(given["k"])
        self.headers.append(dict(request.headers))
        self.messages.append(json.loads(opened(await request.read(), self.private, self.auth)))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status)
