"""Signing in at an identity provider with OpenID Connect: the authorization code flow with PKCE.

attempt.py    what one attempt is known by: state, nonce and code verifier, all from one secret of the browser
claims.py     what an id token must be, and who somebody is by it
provider.py   what the provider says of itself, and the keys that it signs with
service.py    the two steps: where to send a browser, and what it comes back with

`attempt` and `claims` are pure.
"""

from jelmore.control.sign_in.claims import OidcConfig, Refusal, SignInError
from jelmore.control.sign_in.provider import Provider
from jelmore.control.sign_in.service import SignIn

__all__ = ["OidcConfig", "Provider", "Refusal", "SignIn", "SignInError"]
