"""The gateway's settings, read once from the environment. The names are those of docs/configuration.md."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from jelmore_gateway.credentials import ModelCredential
from jelmore_gateway.vault import KeyFormatError, key_reader
from jelmore_protocol.gateway import CONTROL_SOCKET, EGRESS_SOCKET, LOCAL_SOCKET, TOKEN_SOCKET

DEFAULT_MODEL_URL: Final = "https://api.anthropic.com"
MAX_SOCKET_PATH_BYTES: Final = 100
"""The kernel accepts 107; some libraries add a few bytes."""

_LONGEST: Final = "0123456789abcdef/" + EGRESS_SOCKET
_LEVELS: Final = ("debug", "info", "warning", "error")
_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})


class SettingsError(ValueError):
    """A setting is missing or not valid. The text names it."""


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans go; nowhere without an endpoint."""

    endpoint: str = ""
    headers: str = field(default="", repr=False)
    ratio: float = 1.0
    model_api: bool = False  # the model API gets the `traceparent` too


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the gateway."""

    folder: Path  # of the sockets: the control socket, and one folder per sandbox
    state_dir: Path
    credential: ModelCredential
    model_url: str
    read_keys: Callable[[], Sequence[bytes]] = field(repr=False)  # the keys that encrypt credentials
    listen: tuple[str, int] | None = None  # where sandboxes with a token reach it over a network
    log_level: str = "info"
    traces: TraceSettings = TraceSettings()

    @property
    def control_socket(self) -> Path:
        """The socket that only managers use."""
        return self.folder / CONTROL_SOCKET

    @property
    def local_socket(self) -> Path:
        """The socket of the process that runs stdio MCP servers, if there is one."""
        return self.folder.parent / "mcp" / LOCAL_SOCKET

    @property
    def token_socket(self) -> Path:
        """The socket on which a token says who calls."""
        return self.folder / TOKEN_SOCKET


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings in `environ`. Raises SettingsError that names the variable."""
    folder = Path(environ.get("JELMORE_RUN_DIR") or "/run/jelmore").expanduser().absolute() / "gateway"
    if len(os.fsencode(folder / _LONGEST)) > MAX_SOCKET_PATH_BYTES:
        raise SettingsError(f"JELMORE_RUN_DIR: a socket path below {folder} is too long; choose a shorter one")
    level = read_level(environ)
    state_dir = _state_dir(environ)
    try:
        read_keys = key_reader(environ, state_dir)
    except KeyFormatError as error:
        raise SettingsError(f"JELMORE_SECRETS_KEY: {error}") from None
    return Settings(
        folder=folder,
        state_dir=state_dir,
        read_keys=read_keys,
        credential=ModelCredential(
            api_key=environ.get("ANTHROPIC_API_KEY") or None,
            auth_token=environ.get("ANTHROPIC_AUTH_TOKEN") or None,
            oauth_token=environ.get("CLAUDE_CODE_OAUTH_TOKEN") or None,
        ),
        model_url=_model_url(environ),
        listen=_listen(environ),
        log_level=level,
        traces=_traces(environ),
    )


def _traces(environ: Mapping[str, str]) -> TraceSettings:
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT: {endpoint!r} is no http(s) address")
    try:
        ratio = float(environ.get("JELMORE_TRACE_RATIO") or 1)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise SettingsError("JELMORE_TRACE_RATIO: is no number from 0 to 1")
    model_api = (environ.get("JELMORE_TRACE_MODEL_API") or "false").lower()
    if model_api not in _TRUE | _FALSE:
        raise SettingsError(f"JELMORE_TRACE_MODEL_API: {model_api!r} is neither true nor false")
    return TraceSettings(endpoint, environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), ratio, model_api in _TRUE)


def read_level(environ: Mapping[str, str]) -> str:
    """Return the level of log lines. Raises SettingsError."""
    level = environ.get("JELMORE_LOG_LEVEL") or "info"
    if level not in _LEVELS:
        raise SettingsError(f"JELMORE_LOG_LEVEL: {level!r} is none of {', '.join(_LEVELS)}")
    return level


def _state_dir(environ: Mapping[str, str]) -> Path:
    own = environ.get("JELMORE_GATEWAY_STATE_DIR")
    if own:
        return Path(own).expanduser().absolute()
    return Path(environ.get("JELMORE_DATA_DIR") or ".jelmore").expanduser().absolute() / "gateway"


def _model_url(environ: Mapping[str, str]) -> str:
    url = environ.get("ANTHROPIC_BASE_URL") or DEFAULT_MODEL_URL
    if url.startswith("unix:/"):
        return url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(each.isspace() for each in url):
        raise SettingsError(f"ANTHROPIC_BASE_URL: {url!r} is neither an http(s) address nor unix:/path")
    return url.rstrip("/")


def _listen(environ: Mapping[str, str]) -> tuple[str, int] | None:
    text = environ.get("JELMORE_GATEWAY_LISTEN")
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        raise SettingsError(f"JELMORE_GATEWAY_LISTEN: {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
