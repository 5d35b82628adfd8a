"""API keys of people and programs. The store holds digests only."""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Final

import structlog

from jelmore.control.requests import Caller
from jelmore.ports import ApiKey, Role, Store
from jelmore.session.errors import UnauthenticatedError

_log = structlog.get_logger(__name__)

KEY_PREFIX: Final = "jlm_"
_FIRST_KEY_NAME: Final = "from JELMORE_API_KEY"


def new_key() -> str:
    """Return a new API key: 256 bits, recognisable by its prefix."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Return the SHA-256 digest of a key, to store. Keys are long and random, so it cannot be reversed by guessing."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_of_key(key: str) -> str:
    """Return the id of a key: the beginning of its digest, so that the same key always has the same one."""
    return f"key_{digest(key)[:12]}"


class ApiKeys:
    """Accepts keys and finds their callers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept_first(self, key: str) -> None:
        """Accept the key of JELMORE_API_KEY as an admin key, instead of an earlier one. May run twice."""
        first = await self.add(key, _FIRST_KEY_NAME, Role.ADMIN)
        await self._retire_first_keys(but=first.id)

    async def _retire_first_keys(self, *, but: str) -> None:
        """Revoke the earlier keys of JELMORE_API_KEY: changing the setting means to replace the key."""
        kept = await self._store.keys()
        for key in kept:
            if self.is_first(key) and key.id != but:
                await self._store.revoke_key(key.id)
                _log.info("key_revoked", key=key.id, why="JELMORE_API_KEY was changed")
        if but not in {key.id for key in kept}:
            _log.warning("key_is_revoked", key=but, why="JELMORE_API_KEY holds a key that was revoked: choose another")

    def is_first(self, key: ApiKey) -> bool:
        """Return whether a key comes from the setting JELMORE_API_KEY. People choose the names of other keys."""
        return key.name == _FIRST_KEY_NAME and key.created_by is None and key.signed_in_until is None

    async def add(self, key: str, name: str, role: Role) -> ApiKey:
        """Store `key`, so that it is accepted from now on. The same key again changes nothing."""
        kept = ApiKey(id=id_of_key(key), name=name, role=role, created_at=datetime.now(UTC))
        await self._store.add_key(kept, digest(key))
        return kept

    async def caller(self, key: str | None) -> Caller:
        """Return the caller that holds `key`. Raises UnauthenticatedError; a revocation takes effect at once."""
        if not key:
            raise UnauthenticatedError("send an API key in X-API-Key or Authorization: Bearer")
        found = await self._store.key_by_digest(digest(key))
        if found is None:
            raise UnauthenticatedError("this API key is not known")
        return Caller(found)

    async def caller_by_id(self, key_id: str) -> Caller:
        """Return the caller with the key of that id. Raises UnauthenticatedError when it is unknown or revoked."""
        found = await self._store.key_by_id(key_id)
        if found is None:
            raise UnauthenticatedError("the API key that this was made with was revoked")
        return Caller(found)
