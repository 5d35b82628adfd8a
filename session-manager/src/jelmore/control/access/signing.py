"""The key that signs every token of an installation. All managers share it through the store."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jelmore.ports import Store
from jelmore.session.errors import ForbiddenError, UnauthenticatedError
from jelmore_protocol.tokens import Audience, Claims, TokenError, sign, verify


class SigningKey:
    """Signs and verifies claims. `public_pem` is what runners and the gateway verify with."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._private_pem = ""
        self.public_pem = ""

    async def open(self) -> None:
        """Load the key. Raises DependencyError; may run twice."""
        self._private_pem = await self._store.signing_key(new_signing_key())
        private = serialization.load_pem_private_key(self._private_pem.encode(), password=None)
        self.public_pem = (
            private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, claims: Claims) -> str:
        """Return a token with these claims."""
        return sign(claims, self._private_pem)

    def verified(self, token: str | None, audience: Audience, session_id: str | None = None) -> Claims:
        """Return a token's claims. Raises UnauthenticatedError; ForbiddenError for another audience or session."""
        if not token:
            raise UnauthenticatedError("send a token in Authorization: Bearer")
        try:
            return verify(token, self.public_pem, session_id=session_id, audience=audience)
        except TokenError as error:
            if error.forbidden:
                raise ForbiddenError(str(error)) from None
            raise UnauthenticatedError(str(error)) from None


def new_signing_key() -> str:
    """Return a new Ed25519 private key as PEM."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )
