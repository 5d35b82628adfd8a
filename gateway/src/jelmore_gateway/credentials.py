"""A credential for the model API, and the headers that carry it. Pure."""

from dataclasses import dataclass, field
from typing import Final

OAUTH_BETA: Final = "oauth-2025-04-20"
"""The Messages API accepts a plan's OAuth token only with this beta (as Claude Code's own requests have it)."""


@dataclass(frozen=True, slots=True)
class ModelCredential:
    """The credential for the model API; at most one is used, in the order of the fields."""

    api_key: str | None = field(default=None, repr=False)
    auth_token: str | None = field(default=None, repr=False)
    oauth_token: str | None = field(default=None, repr=False)

    def headers(self, beta: str | None) -> dict[str, str]:
        """Return the headers to add to a model API request. `beta` is the `anthropic-beta` header of that request."""
        if self.api_key:
            return {"X-Api-Key": self.api_key}
        if self.auth_token:
            return {"Authorization": f"Bearer {self.auth_token}"}
        if self.oauth_token:
            betas = [word.strip() for word in (beta or "").split(",") if word.strip()]
            both = ",".join(dict.fromkeys([*betas, OAUTH_BETA]))
            return {"Authorization": f"Bearer {self.oauth_token}", "Anthropic-Beta": both}
        return {}
