"""Refresh tokens that a server replaced, encrypted in the gateway's state.

The configuration holds the one that was set first. A server that gives a new one with each answer refuses that one
later, so the newest must survive a restart. It is stored with a fingerprint of the credential that it came from: a
credential that is set again does not find it.
"""

import json
from collections.abc import Collection
from typing import Final

from jelmore_gateway.state import State, StateError
from jelmore_gateway.vault import Vault, VaultError
from jelmore_protocol.gateway import CredentialKey, Scope

KIND: Final = "refresh_token"
"""Part of what the ciphertext is bound to: it cannot be opened as a credential."""

type Key = tuple[Scope, str, str]


class RotatedTokens:
    """The newest refresh token of each credential that got a new one."""

    def __init__(self, vault: Vault, state: State) -> None:
        self._vault = vault
        self._state = state

    async def find(self, key: Key, fingerprint: str) -> str | None:
        """Return the newest refresh token of a credential, None when it got none or was set again.

        One that an older key encrypted is encrypted again with the present one. Raises VaultError for one that no
        key opens: the first one would be taken for stolen.
        """
        try:
            stored = await self._state.refresh_token(_name(key))
            if stored is None:
                return None
            sealed, key_id = stored
            kept = json.loads(self._vault.open(_whose(key), sealed, KIND))
            if kept["fingerprint"] != fingerprint:
                return None
            if key_id != self._vault.key_id:
                await self.keep(key, fingerprint, kept["token"])
        except StateError as error:
            raise VaultError(f"the refresh token of {key[2]} cannot be read: {error}") from None
        return str(kept["token"])

    async def keep(self, key: Key, fingerprint: str, token: str) -> None:
        """Store a refresh token in place of the one before; it is on disk on return. Raises VaultError, StateError."""
        text = json.dumps({"fingerprint": fingerprint, "token": token})
        sealed, key_id = self._vault.seal(_whose(key), text, KIND)
        await self._state.keep_refresh_token(_name(key), sealed, key_id)

    async def keep_only(self, keys: Collection[Key]) -> None:
        """Forget those of other credentials. Raises StateError."""
        await self._state.keep_refresh_tokens_of([_name(key) for key in keys])


def _whose(key: Key) -> CredentialKey:
    return CredentialKey(scope=key[0], owner=key[1], name=key[2])


def _name(key: Key) -> str:
    return json.dumps([key[0].value, key[1], key[2]])
