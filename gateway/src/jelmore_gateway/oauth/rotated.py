"""Refresh tokens that a server replaced, encrypted in the gateway's state.

The configuration holds the one that was set first. A server that gives a new one with each answer refuses that one
later, so the newest must survive a restart. It is stored behind a fingerprint of the credential that it came from,
which is read before anything is opened: a credential that is set again does not find it, even if its key is lost.
"""

import json
from collections.abc import Collection
from typing import Final

import structlog

from jelmore_gateway.state import State, StateError
from jelmore_gateway.vault import Vault, VaultError
from jelmore_protocol.gateway import CredentialKey, Scope

KIND: Final = "refresh_token"
"""Part of what the ciphertext is bound to: it cannot be opened as a credential."""

_MARK: Final = "."
"""Between the fingerprint and the encrypted token. Earlier ones have no fingerprint in front."""

_log = structlog.get_logger(__name__)

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
            of, _, sealed = stored[0].rpartition(_MARK)
            if of and of != fingerprint:
                return None
            text = self._vault.open(_whose(key), sealed, KIND)
            kept = json.loads(text)
            if kept["fingerprint"] != fingerprint:
                return None
            await self._seal_again(key, stored, text)
        except StateError as error:
            raise VaultError(f"the refresh token of {key[2]} cannot be read: {error}") from None
        return str(kept["token"])

    async def keep(self, key: Key, fingerprint: str, token: str) -> None:
        """Store a refresh token in place of the one before; it is on disk on return. Raises VaultError, StateError."""
        text = json.dumps({"fingerprint": fingerprint, "token": token})
        await self._state.keep_refresh_token(_name(key), *self._seal(key, text))

    async def keep_only(self, keys: Collection[Key]) -> None:
        """Forget those of other credentials, and encrypt the rest with the present key. Raises StateError."""
        await self._state.keep_refresh_tokens_of([_name(key) for key in keys])
        for key in keys:
            stored = await self._state.refresh_token(_name(key))
            if stored is None:
                continue
            try:
                text = self._vault.open(_whose(key), stored[0].rpartition(_MARK)[2], KIND)
                await self._seal_again(key, stored, text)
            except VaultError as error:  # it may be of a credential that was set again, or its key comes back
                _log.warning("refresh_token_not_opened", credential=key[2], scope=key[0].value, error=str(error))

    async def _seal_again(self, key: Key, stored: tuple[str, str], text: str) -> None:
        """Encrypt with the present key what another one has encrypted, unless a newer one was stored meanwhile."""
        if stored[1] != self._vault.key_id:
            await self._state.keep_refresh_token(_name(key), *self._seal(key, text), in_place_of=stored[0])

    def _seal(self, key: Key, text: str) -> tuple[str, str]:
        sealed, key_id = self._vault.seal(_whose(key), text, KIND)
        return json.loads(text)["fingerprint"] + _MARK + sealed, key_id


def _whose(key: Key) -> CredentialKey:
    return CredentialKey(scope=key[0], owner=key[1], name=key[2])


def _name(key: Key) -> str:
    return json.dumps([key[0].value, key[1], key[2]])
