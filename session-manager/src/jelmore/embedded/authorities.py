"""Authorities of the operator's own, beside the public ones, for every TLS connection of the quick start and for git.

`JELMORE_CA_FILE` means the same in the deployment, where `session-manager/Dockerfile` makes the list.
"""

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SETTING: Final = "JELMORE_CA_FILE"
NAME: Final = "authorities.pem"
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_PUBLIC: Final = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


class AuthoritiesError(Exception):
    """The file cannot be used. The message names the setting."""


def with_authorities(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment in which processes trust the operator's file too; unchanged without one. May run twice.

    Writes the list of all into `folder`. Raises AuthoritiesError, OSError.
    """
    named = environment.get(SETTING)
    if not named:
        return dict(environment)
    own = _own(Path(named))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / NAME
    new = folder / f".{NAME}.{os.getpid()}"
    new.write_text(f"{_public(environment)}\n{own}", encoding="utf-8")
    new.rename(file)
    return {**environment, "SSL_CERT_FILE": str(file), "GIT_SSL_CAINFO": str(file)}


def _own(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        ssl.create_default_context(cadata=text)
    except OSError as error:  # an ssl.SSLError too
        raise AuthoritiesError(f"{SETTING}: {path}: {error.strerror or error}") from None
    except ValueError:
        raise AuthoritiesError(f"{SETTING}: {path} is not a PEM file of certificates") from None
    if not re.search(f"(?m)^{_BEGIN}", text):
        raise AuthoritiesError(f"{SETTING}: {path} has no certificate")
    return text


def _public(environment: Mapping[str, str]) -> str:
    """Return the authorities that would be trusted without the file: of SSL_CERT_FILE, of this machine, of certifi."""
    import certifi

    given = environment.get("SSL_CERT_FILE")
    candidates = ([Path(given)] if given else []) + [*_PUBLIC, Path(certifi.where())]
    found = next(each for each in candidates if each.is_file())
    return found.read_text(encoding="utf-8", errors="replace")
