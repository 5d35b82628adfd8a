"""Which certificates a connection trusts: those of this machine, as curl and git do.

httpx by itself trusts certifi's list only. A company's authority that is installed on the machine would be unknown.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl  # late: most commands end without it

_SECURE: Final = ("https://", "wss://")


def trusted(url: str) -> "ssl.SSLContext":
    """Return how to verify the server at `url`: with SSL_CERT_FILE, SSL_CERT_DIR, else this machine's authorities.

    On a machine without any, with certifi's. Without TLS nothing is loaded, which takes 20 ms: whoever is met by TLS
    all the same is not trusted.
    """
    import ssl

    if not url.startswith(_SECURE):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if not context.get_ca_certs():
        import certifi  # of httpx

        context.load_verify_locations(certifi.where())
    return context


def websocket_options(url: str) -> dict[str, Any]:
    """Return the option of `websockets` for `url`: it takes none without TLS."""
    return {"ssl": trusted(url)} if url.startswith(_SECURE) else {}


def certificate_problem(error: BaseException | None) -> str | None:
    """Return why a certificate was refused, from an error or what led to it; None when it was something else."""
    import ssl

    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - a bound
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None
