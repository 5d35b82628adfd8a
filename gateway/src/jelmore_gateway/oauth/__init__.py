"""Access tokens of routes whose server wants OAuth: asked for, kept in memory and renewed here.

`requests` is pure; `tokens` keeps and renews. Nothing here decides which route uses which credential.
"""

from jelmore_gateway.oauth.requests import OAuthError
from jelmore_gateway.oauth.tokens import OAuthTimes, OAuthTokens

__all__ = ["OAuthError", "OAuthTimes", "OAuthTokens"]
