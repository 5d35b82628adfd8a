"""Access tokens of routes whose server wants OAuth: asked for, kept in memory and renewed here.

`requests` and `metadata` are pure; `tokens` keeps and renews, `authorizations` gets the first ones in a person's name.
Nothing here decides which route uses which credential.
"""

from jelmore_gateway.oauth.authorizations import Authorizations
from jelmore_gateway.oauth.requests import OAuthError
from jelmore_gateway.oauth.tokens import OAuthTimes, OAuthTokens

__all__ = ["Authorizations", "OAuthError", "OAuthTimes", "OAuthTokens"]
