"""Which requests of a sandbox go to the model API, and with which headers. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from jelmore_gateway.credentials import ModelCredential

PATHS: Final = frozenset({"/v1/messages", "/v1/messages/count_tokens", "/v1/models"})
METERED: Final = "/v1/messages"

_PASSED: Final = frozenset(
    {"accept", "content-type", "content-length", "user-agent", "x-app", "x-client-request-id", "idempotency-key"}
)
_PASSED_PREFIXES: Final = ("anthropic-", "x-anthropic-", "x-claude-code-", "x-stainless-")
HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_NOT_FORWARDED: Final = HOP_BY_HOP | {"set-cookie", "alt-svc", "via", "server", "strict-transport-security"}

type Headers = list[tuple[str, str]]


def model_path(target: str) -> str | None:
    """Return the path of the model API that a request's target names, None for any other.

    Only the plain spelling counts: no escapes, no double slashes, no dots.
    """
    path, _, _ = target.partition("?")
    return path if path in PATHS else None


def model_headers(incoming: Iterable[tuple[str, str]], credential: ModelCredential) -> Headers:
    """Return the headers that go to the model API: those that it needs, with `credential`.

    Responses are asked for without compression, because their token counts are read as they pass.
    """
    passed, betas = [], []
    for name, value in incoming:
        lower = name.lower()
        if lower == "anthropic-beta":
            betas.append(value)
        elif lower in _PASSED or lower.startswith(_PASSED_PREFIXES):
            passed.append((name, value))
    beta = ",".join(betas) if betas else None
    own = credential.headers(beta)
    if beta is not None and "Anthropic-Beta" not in own:
        own["Anthropic-Beta"] = beta
    return [*passed, *own.items(), ("Accept-Encoding", "identity")]


def response_headers(incoming: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers of a response that a sandbox gets."""
    return [(name, value) for name, value in incoming if name.lower() not in _NOT_FORWARDED]


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the length that a request declares, None when it declares none or not a number."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() else None
