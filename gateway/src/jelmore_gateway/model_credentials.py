"""Which credential goes with a session's calls of the model: its own, its user's, or the deployment's.

One that is set but cannot be opened is not replaced by a wider one: the call would be paid by somebody else.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from jelmore_gateway.credentials import ModelCredential
from jelmore_gateway.refusals import unavailable
from jelmore_gateway.vault import Vault, VaultError
from jelmore_protocol.gateway import MODEL_CREDENTIALS, GatewayConfig, SandboxEntry, Scope, SealedCredential

_log = structlog.get_logger(__name__)

_FIELDS: Final = dict(zip(MODEL_CREDENTIALS, ("api_key", "auth_token", "oauth_token"), strict=True))

type _Owner = tuple[Scope, str]

_DEPLOYMENT: Final[_Owner] = (Scope.DEPLOYMENT, "")


class ModelCredentials:
    """Finds and opens the credential of each call. `own` is that of the gateway's environment."""

    def __init__(self, own: ModelCredential, vault: Vault, config: Callable[[], GatewayConfig]) -> None:
        self._own = own
        self._vault = vault
        self._config = config
        self._indexed: GatewayConfig | None = None
        self._by_owner: Mapping[_Owner, SealedCredential] = {}

    def of(self, entry: SandboxEntry) -> ModelCredential:
        """Return the credential for a session's call. Raises RefusedError when the one that is set cannot be opened."""
        users = [(Scope.USER, entry.user_id)] if entry.user_id else []
        return self._first((Scope.SESSION, entry.session_id), *users, _DEPLOYMENT)

    def of_deployment(self) -> ModelCredential:
        """Return the credential of sessions without one of their own or their user's. Raises RefusedError like `of`."""
        return self._first(_DEPLOYMENT)

    def _first(self, *owners: _Owner) -> ModelCredential:
        config = self._config()
        if config is not self._indexed:  # there may be thousands, and calls are frequent
            self._by_owner, self._indexed = by_owner(config), config
        sealed = next((found for owner in owners if (found := self._by_owner.get(owner)) is not None), None)
        if sealed is None:
            return self._own
        try:
            value = self._vault.open(sealed, sealed.sealed)
        except VaultError as error:
            _log.error("model_credential_not_opened", scope=sealed.scope, owner=sealed.owner, error=str(error))
            raise unavailable(f"the model credential of the {sealed.scope.value} cannot be opened") from None
        return ModelCredential(**{_FIELDS[sealed.name]: value})


def by_owner(config: GatewayConfig) -> dict[_Owner, SealedCredential]:
    """Return the model credential of each owner."""
    found: dict[_Owner, SealedCredential] = {}
    for name in reversed(MODEL_CREDENTIALS):
        found |= {(each.scope, each.owner): each for each in config.credentials if each.name == name}
    return found
