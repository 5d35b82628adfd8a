"""Which certificates a connection trusts: those of this machine, as curl and git do.

httpx by itself trusts certifi's list only. A company's authority that is installed on the machine would be unknown.
"""

import os
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl  # late: most commands end without it

_SECURE: Final = ("https://", "wss://")
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""The name of a certificate in a folder of OpenSSL's."""


def trusted(url: str) -> "ssl.SSLContext":
    """Return how to verify the server at `url`: with SSL_CERT_FILE, SSL_CERT_DIR, else this machine's authorities.

    On a machine without any, with certifi's. Without TLS nothing is loaded, which takes 20 ms: whoever is met by TLS
    all the same is not trusted.
    """
    import ssl

    if not _is_secure(url):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if not context.get_ca_certs() and not _have_certificates(ssl.get_default_verify_paths()):
        import certifi  # of httpx

        context.load_verify_locations(certifi.where())
    return context


def websocket_options(url: str) -> dict[str, Any]:
    """Return the option of `websockets` for `url`: it takes none without TLS."""
    return {"ssl": trusted(url)} if _is_secure(url) else {}


def _is_secure(url: str) -> bool:
    return url.lower().startswith(_SECURE)


def _have_certificates(paths: "ssl.DefaultVerifyPaths") -> bool:
    """Return whether OpenSSL's folders have certificates. It reads them only while it verifies one."""
    for folder in os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(os.pathsep):
        try:
            if any(_HASHED.fullmatch(name) for name in os.listdir(folder)):  # noqa: PTH208 - names are enough
                return True
        except OSError:
            continue
    return False


def certificate_problem(error: BaseException | None) -> str | None:
    """Return why a certificate was refused, from an error or what led to it; None when it was something else."""
    import ssl

    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - a bound
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None
