"""Signing in at an identity provider: calls to it, and the accounts of the people who did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jelmore.ports.keys import ApiKey, Role


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What an identity provider answered: the status, and the JSON object of the body (empty when it is none)."""

    status: int
    body: Mapping[str, Any]


class IdentityProvider(Protocol):
    """HTTP to an identity provider. No redirect is followed; time and size of an answer are bounded."""

    async def call(
        self, url: str, *, form: Mapping[str, str] | None = None, authorization: str | None = None
    ) -> ProviderAnswer:
        """Get `url`, or post `form` to it. Raises DependencyError when no bounded answer comes in time."""

    async def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True, slots=True)
class Account:
    """A person as an identity provider knows them. `id` is the id of their key, `user_id` the provider's."""

    id: str
    user_id: str
    name: str
    role: Role


class AccountStore(Protocol):
    """The accounts in PostgreSQL: keys without a text, which are valid for a while after each sign-in."""

    async def sign_in(self, account: Account, for_s: float) -> ApiKey | None:
        """Store or change an account, valid for `for_s` seconds from now; return None when an operator revoked it."""

    async def end_sign_in(self, account_id: str) -> None:
        """End the sign-ins of an account now. May run any number of times."""

    async def use_once(self, digest: str, for_s: float) -> bool:
        """Note that a sign-in with this digest is done; return whether it is the first. Remembered for `for_s`."""

    async def close(self) -> None:
        """Release connections."""
