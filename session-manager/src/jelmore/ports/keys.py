"""API keys and their roles."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from jelmore_protocol.tokens import EPOCH_MARK


class Role(StrEnum):
    """What an API key may do."""

    ADMIN = "admin"
    CLIENT = "client"  # its own sessions only
    READONLY = "readonly"  # may read every session


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its secret: only the digest of the secret is stored.

    An account has no secret: it is a person who signed in at an identity provider, as `user_id` there, and it is valid
    until `signed_in_until`. A key with a `user_id` is of that user: its sessions are theirs. With `act_as`, what
    belongs to the user that it names for a session, credentials and routes, goes with the session's calls.
    """

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    created_by: str | None = None
    user_id: str | None = None
    signed_in_until: datetime | None = None
    act_as: bool = False
    sign_in_epoch: int = 0  # of an account: raised when its role changes, or none of its groups may sign in

    @property
    def token_subject(self) -> str:
        """The subject of tokens that are made with the key. Those of an earlier epoch are revoked by theirs."""
        return f"{self.id}{EPOCH_MARK}{self.sign_in_epoch}" if self.sign_in_epoch else self.id


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What a new key may do. With `user_id`, a client key is of that user; `act_as`: it acts for every user."""

    role: Role
    user_id: str | None = None
    act_as: bool = False


class KeyStore(Protocol):
    """The key that signs session tokens, and the digests of API keys."""

    async def signing_key(self, new: str) -> str:
        """Return the private key (PEM) that signs tokens. The first call of an installation stores `new`."""

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this SHA-256 digest; None when there is none, or it is revoked or expired."""

    async def key_by_id(self, key_id: str) -> ApiKey | None:
        """Return the key with this id; None when there is none, or it is revoked, or an account's sign-in is over."""

    async def keys_by_id(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        """Return the keys with these ids by their ids, without those that `key_by_id` does not find."""

    async def add_key(self, key: ApiKey, digest: str) -> None:
        """Store a new key with its digest. A digest that is stored already changes nothing."""

    async def keys(self) -> Sequence[ApiKey]:
        """Return the keys that are not revoked."""

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; return False when there is none."""

    async def revoked_keys(self, since: datetime) -> Sequence[str]:
        """Return the ids of the keys revoked at or after `since`."""

    async def rotated_tokens(self, since: datetime) -> Mapping[UUID, int]:
        """Return the token epochs of the sessions whose tokens were rotated at or after `since`."""
