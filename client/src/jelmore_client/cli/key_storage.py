"""Where `jelmore login` keeps API keys: the system's keyring where there is one, else the file of contexts (0600).

`keyring` is an optional extra. On a machine without a desktop it is often installed and has nothing behind it, or waits
for a password that nobody can type: every call has a deadline, and `login` then uses the file.
"""

import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

KEYRING_S: Final = 20.0
"""How long the keyring may take: a person may have to unlock it."""

SERVICE: Final = "jelmore"
OFF: Final = "JELMORE_KEYRING"
"""With the value 0, the keyring is not used."""


class KeyringError(Exception):
    """The keyring cannot be used. The text says why."""


def available(environment: Mapping[str, str]) -> bool:
    """Return whether the package `keyring` is installed and a keyring of the system is behind it."""
    if environment.get(OFF) == "0":
        return False
    try:
        keyring: Any = import_module("keyring")
        return bool(_within(lambda: keyring.get_keyring().priority >= 1))
    except (ImportError, KeyringError):
        return False


def keep(name: str, url: str, api_key: str) -> None:
    """Keep the key of a context in the keyring, in place of an earlier one. Raises KeyringError."""
    keyring = _keyring()
    _within(lambda: keyring.set_password(SERVICE, _account(name, url), api_key))


def read(name: str, url: str) -> str:
    """Return the key of a context. Raises KeyringError, also when the keyring has none."""
    keyring = _keyring()
    found = _within(lambda: keyring.get_password(SERVICE, _account(name, url)))
    if found is None:
        raise KeyringError("it has no key for this context")
    return str(found)


def forget(name: str, url: str) -> None:
    """Remove the key of a context. Absent is success. Raises KeyringError."""
    keyring = _keyring()
    if _within(lambda: keyring.get_password(SERVICE, _account(name, url))) is not None:
        _within(lambda: keyring.delete_password(SERVICE, _account(name, url)))


def _account(name: str, url: str) -> str:
    # With the URL: a changed file of contexts must not lead a key to another server.
    return f"{name} {url}"


def _keyring() -> Any:
    try:
        return import_module("keyring")
    except ImportError:
        raise KeyringError("the package 'keyring' is not installed (pip install 'jelmore-client[keyring]')") from None


def _within(call: Callable[[], Any]) -> Any:
    """Return what a call of the keyring returns. Raises KeyringError, also after KEYRING_S.

    The thread of a call that hangs is left behind; it ends with the command.
    """
    results: list[Any] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - every backend has errors of its own
            failures.append(error)

    thread = threading.Thread(target=run, name="keyring", daemon=True)
    thread.start()
    thread.join(KEYRING_S)
    if failures:
        raise KeyringError(str(failures[0]) or type(failures[0]).__name__)
    if not results:
        raise KeyringError(f"it does not answer within {KEYRING_S:g} s")
    return results[0]
