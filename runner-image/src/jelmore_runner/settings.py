"""The runner's settings, read once from the environment, which is then cleared.

Claude Code inherits the runner's environment through the SDK, so any variable left there would reach the agent.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from jelmore_protocol.vocabulary import VOLUME

DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
SEND_TIMEOUT_S: Final = 30.0
MAX_CONNECTIONS: Final = 200


class SettingsError(ValueError):
    """A setting is missing or invalid. The text names it."""


@dataclass(frozen=True, slots=True)
class Address:
    """The path of a Unix socket, or a host and a port (0: any free port)."""

    path: str | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `unix:/path` or `tcp:host:port`. Raises SettingsError."""
        kind, _, rest = text.partition(":")
        if kind == "unix" and rest.startswith("/"):
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and host and port.isascii() and port.isdecimal() and int(port) < 2**16:
            return cls(host=host.strip("[]"), port=int(port))
        raise SettingsError(f"{text!r} is neither unix:/path nor tcp:host:port")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the runner. Times are in seconds."""

    control: Address
    public: Address
    gateway: Address
    session_dir: Path
    egress: Address | None = None  # the gateway's socket for other hosts; None: the agent gets no proxy
    secret: str | None = field(default=None, repr=False)  # required from callers of the control socket
    claude: str | None = None  # the wrapper that switches to the user `agent`; None: the SDK's binary
    as_agent: str | None = None  # the wrapper that runs another program as the user `agent`; None: no other user
    skills: Path | None = None  # a folder with the deployment's skills in `.claude/skills`
    files_only: bool = False  # no session will begin here: the sandbox exists for the files of its volume
    path: str = DEFAULT_PATH  # PATH of the agent
    send_timeout_s: float = SEND_TIMEOUT_S  # a client that reads nothing for this long is disconnected
    max_connections: int = MAX_CONNECTIONS  # public WebSockets at once

    @property
    def workspace(self) -> Path:
        """The agent's working directory. A conversation resumes only in the same directory."""
        return self.session_dir / "workspace"

    @property
    def home(self) -> Path:
        """The agent's home directory."""
        return self.session_dir / "home"

    def place(self, path: str) -> tuple[Path, PurePath]:
        """Split a path of an option or input, relative to the workspace or in the volume, into a root and the rest."""
        if path.startswith(f"{VOLUME}/home"):
            return self.home, PurePath(path.removeprefix(f"{VOLUME}/home").lstrip("/"))
        return self.workspace, PurePath(path.removeprefix(f"{VOLUME}/workspace").lstrip("/"))

    @property
    def state(self) -> Path:
        """The runner's own directory, which holds the journal."""
        return self.session_dir / "state"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings in `environ`. Raises SettingsError that names the variable."""
    control, secret = _address(environ, "JELMORE_RUNNER_CONTROL"), _secret(environ)
    if control.path is None and secret is None:
        raise SettingsError("JELMORE_RUNNER_SECRET_FILE: a control port needs a secret")
    return Settings(
        control=control,
        secret=secret,
        public=_address(environ, "JELMORE_RUNNER_PUBLIC"),
        gateway=_address(environ, "JELMORE_RUNNER_GATEWAY"),
        egress=_egress(environ),
        session_dir=Path(_required(environ, "JELMORE_RUNNER_SESSION_DIR")).absolute(),
        claude=environ.get("JELMORE_RUNNER_CLAUDE") or None,
        as_agent=environ.get("JELMORE_RUNNER_AS_AGENT") or None,
        skills=Path(environ["JELMORE_RUNNER_SKILLS"]) if environ.get("JELMORE_RUNNER_SKILLS") else None,
        files_only=environ.get("JELMORE_RUNNER_FILES_ONLY") == "1",
        path=environ.get("PATH") or DEFAULT_PATH,
        send_timeout_s=_positive(environ, "JELMORE_RUNNER_SEND_TIMEOUT_S", SEND_TIMEOUT_S),
        max_connections=int(_positive(environ, "JELMORE_RUNNER_MAX_CONNECTIONS", MAX_CONNECTIONS)),
    )


def scrub_environment(settings: Settings) -> None:
    """Remove all variables that this process does not need, so that they cannot reach the agent. May run twice."""
    os.environ.clear()
    os.environ.update(PATH=settings.path, LANG="C.UTF-8", HOME=str(settings.state))


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _secret(environ: Mapping[str, str]) -> str | None:
    """Return the content of the secret's file; None if there is none. Raises SettingsError."""
    name = "JELMORE_RUNNER_SECRET_FILE"
    if not environ.get(name):
        return None
    try:
        secret = Path(environ[name]).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None  # older managers write no secret
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: {error}") from None
    return secret or None


def _address(environ: Mapping[str, str], name: str) -> Address:
    try:
        return Address.parse(_required(environ, name))
    except SettingsError as error:
        raise SettingsError(str(error) if name in str(error) else f"{name}: {error}") from None


def _egress(environ: Mapping[str, str]) -> Address | None:
    """Return the address of the egress socket; None where the gateway is reached over a network, which has none."""
    if not environ.get("JELMORE_RUNNER_EGRESS") or _address(environ, "JELMORE_RUNNER_GATEWAY").path is None:
        return None
    return _address(environ, "JELMORE_RUNNER_EGRESS")


def _positive(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingsError(f"{name}: {text!r} is not a positive number")
    return value
