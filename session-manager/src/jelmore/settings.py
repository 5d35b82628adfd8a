"""Every setting, read once at start. Each has a unit, a default and a reason; nothing else reads the environment.

Settings with a common name use it (`DATABASE_URL`, `ANTHROPIC_API_KEY` …); all others start with `JELMORE_`.
`docs/configuration.md` and `.env.example` are generated from this file.
"""

import difflib
import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jelmore.session.limits import MEBIBYTE, MINIMUM_MEMORY_BYTES, MINIMUM_WORKSPACE_BYTES, Limits
from jelmore.session.network import split_words
from jelmore.session.record import Timing
from jelmore.session.steps import Policy
from jelmore_protocol.network import parse_rule

MAX_SOCKET_PATH_BYTES = 100
"""The kernel accepts 107; some libraries add a few bytes."""


class SettingsError(Exception):
    """A setting is not valid. The message names it and says what is allowed."""


class Settings(BaseSettings):
    """The configuration of one manager."""

    model_config = SettingsConfigDict(
        env_prefix="JELMORE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # --- addresses and folders
    database_url: SecretStr = Field(
        SecretStr("postgresql://jelmore:jelmore@localhost:5432/jelmore"),
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="PostgreSQL 14 or newer. A direct connection: not through a pooler in transaction mode.",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Redis 7 or Valkey 8 and newer, with maxmemory-policy noeviction. unix:// works too.",
    )
    nats_url: SecretStr = Field(
        SecretStr("nats://localhost:4222"),
        validation_alias=AliasChoices("NATS_URL", "nats_url"),
        description="NATS with JetStream.",
    )
    docker_host: str = Field(
        "unix:///var/run/docker.sock",
        validation_alias=AliasChoices("DOCKER_HOST", "docker_host"),
        description="The container engine.",
    )
    docker_tls_verify: bool = Field(
        default=False,
        validation_alias=AliasChoices("DOCKER_TLS_VERIFY", "docker_tls_verify"),
        description="Use TLS to the engine, with the certificates in DOCKER_CERT_PATH.",
    )
    docker_cert_path: Path | None = Field(
        None,
        validation_alias=AliasChoices("DOCKER_CERT_PATH", "docker_cert_path"),
        description="Folder with ca.pem, cert.pem and key.pem.",
    )
    data_dir: Path = Field(Path(".jelmore"), description="Data of the quick start and of local sessions.")
    run_dir: Path = Field(
        Path("/run/jelmore"),
        description="Sockets and routes; the same path on the host and in each service.",
    )
    instance: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9-]{0,30}$",
        description="Name of this installation; containers and volumes of other names are left alone.",
    )
    manager_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", description="Name of this manager in logs."
    )
    manager_slot: int | None = Field(
        None,
        ge=0,
        le=3,
        description="Which of the four manager sockets that Caddy knows this manager listens on. "
        "Unset: the first that no other manager holds.",
    )

    # --- public addresses
    public_url: str = Field(
        "http://localhost",
        pattern=r"^https?://[^/]+$",
        description="The address that people use. https:// makes Caddy serve TLS for that name.",
    )
    http_listen: str = Field(":80", description="Where Caddy listens for http, as HOST:PORT.")
    https_listen: str = Field(":443", description="Where Caddy listens for https, as HOST:PORT.")
    tls: Literal["acme", "internal"] = Field(
        "acme", description="Who signs Caddy's certificate: a public authority, or Caddy's own."
    )
    cors_origins: str = Field(
        "",
        pattern=r"^(https?://[^/,\s]+(\s*,\s*https?://[^/,\s]+)*)?$",
        description="Origins whose web pages may call the API from a browser, separated by commas.",
    )
    webhook_private_hosts: str = Field(
        "",
        description="Private hosts that webhooks may call, also without TLS: names, addresses and networks, separated "
        "by commas. All others must have public addresses.",
    )
    api_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="An admin key to accept from the start. Unset: make one with `jelmore-server key`.",
    )

    # --- the model
    anthropic_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ANTHROPIC_API_KEY", "anthropic_api_key"),
        description="Model credential, sent as x-api-key. Only the gateway gets it: no manager and no session does.",
    )
    anthropic_auth_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ANTHROPIC_AUTH_TOKEN", "anthropic_auth_token"),
        description="Model credential, sent as Authorization: Bearer (a gateway of your own).",
    )
    claude_code_oauth_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("CLAUDE_CODE_OAUTH_TOKEN", "claude_code_oauth_token"),
        description="A plan's token. It is its owner's own: do not share sessions made with it.",
    )
    anthropic_base_url: str = Field(
        "https://api.anthropic.com",
        pattern=r"^(https?://[^\s]+|unix:/[^\s]+)$",
        validation_alias=AliasChoices("ANTHROPIC_BASE_URL", "anthropic_base_url"),
        description="The Messages API, which may itself be a gateway and may have a path.",
    )

    gateway_listen: str | None = Field(
        None,
        pattern=r"^[^\s]+:[0-9]+$",
        description="HOST:PORT where the gateway also serves sandboxes that cannot have a socket of their own; they "
        "show a token. Keep it inside a private network: it is plain HTTP.",
    )
    secrets_key: SecretStr | None = Field(
        None,
        description="Encrypts the credentials of routes: 32 bytes in base64 (`openssl rand -base64 32`). Several, "
        "parted by commas: the first encrypts, each opens. Only the gateway gets it. Unset: a key that the gateway "
        "makes and keeps in its state; back that up.",
    )
    secrets_key_file: Path | None = Field(
        None, description="A file with these keys instead, one a line. It may change while the gateway runs."
    )
    gateway_state_dir: Path | None = Field(
        None,
        description="Where the gateway keeps its registrations and the usage that no manager has stored yet. "
        "Unset: `gateway` in the data folder.",
    )

    # --- sessions
    profiles: Path | None = Field(
        None,
        description="TOML file with named defaults and ceilings of sessions, read again when it changes.",
    )
    runtime: Literal["docker", "local"] = Field(
        "docker", description="local runs sessions as plain processes, with no isolation at all."
    )
    runner_image: str = Field("jelmore/runner:latest", description="The image of a session's container.")
    seccomp: Literal["jelmore", "engine"] = Field(
        "jelmore",
        description="The list of system calls that a sandbox may make. engine: the engine's own, for an engine that "
        "refuses ours.",
    )
    max_sessions: int = Field(3, ge=1, le=10_000, description="Sessions that may hold a container at once.")
    concurrent_starts: int = Field(
        4, ge=1, le=100, description="Containers started at once by one manager; a start takes about a core-second."
    )
    memory_bytes: int = Field(4096 * MEBIBYTE, ge=MINIMUM_MEMORY_BYTES, description="Memory of a session (swap equal).")
    cpus: float = Field(1.0, ge=0.1, description="Processors of a session.")
    pids: int = Field(1024, ge=128, description="Processes of a session; builds need several hundred.")
    workspace_bytes: int = Field(
        10 * 1024 * MEBIBYTE,
        ge=0,
        description="Disk a session's volume may use; at 100 % its turn is interrupted, from 120 % it takes no input. "
        "0 does not limit.",
    )
    max_memory_bytes: int = Field(16384 * MEBIBYTE, description="Most memory a session may ask for.")
    max_cpus: float = Field(8.0, description="Most processors a session may ask for.")
    max_pids: int = Field(8192, description="Most processes a session may ask for.")
    output_bytes: int = Field(
        2 * 1024**3,
        ge=1024**2,
        description="Output that a session may journal whole, in all; beyond it, large events are cut to an outline.",
    )
    output_bytes_per_s: int = Field(
        1024**2,
        ge=1024,
        description="Output that a session may journal whole per second, after a burst of 64 MiB.",
    )
    max_output_bytes: int = Field(
        16 * 1024**3, ge=1024**2, description="Most output in all that a session may ask to journal whole."
    )
    max_output_bytes_per_s: int = Field(
        16 * 1024**2, ge=1024, description="Most output per second that a session may ask to journal whole."
    )
    max_workspace_bytes: int = Field(
        100 * 1024 * MEBIBYTE, ge=MINIMUM_WORKSPACE_BYTES, description="Most disk a session may ask for."
    )

    # --- network of sessions
    max_network: Literal["none", "packages", "custom", "open"] = Field(
        "custom", description="The widest `network` that a session may ask for."
    )
    package_hosts: str = Field(
        "",
        description="What `network: packages` reaches: package registries and git hosts, separated by commas, as "
        "`example.com`, `example.com:8443` or `*.example.com`.",
    )
    egress_denied_networks: str = Field(
        "",
        description="Networks that no session may reach, beside private and reserved ones, separated by commas. Name "
        "the public addresses of this deployment here.",
    )
    egress_allowed_networks: str = Field(
        "",
        description="Private networks that sessions may reach where their `network` allows the host, such as the one "
        "of a package mirror; separated by commas.",
    )
    egress_connections: int = Field(64, ge=1, le=1000, description="Connections of one session to other hosts at once.")
    egress_bytes: int = Field(
        0, ge=0, description="Bytes that one sandbox may exchange with other hosts, in both directions. 0: no bound."
    )
    egress_bytes_per_s: int = Field(
        0,
        ge=0,
        description="Bytes per second that all sessions together exchange with other hosts, shared evenly by those "
        "that are busy. 0: no bound.",
    )
    upload_bytes: int = Field(
        4 * 1024**3, ge=1024, description="Most bytes of one upload into a workspace, packed or not."
    )
    push_prefix: str = Field(
        "jelmore/",
        max_length=100,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._/-]*)?$",
        description="How the name of a branch must begin that a session's commits are pushed to. Empty: any name.",
    )

    # --- time, in seconds; 0 means never
    timeout_minutes: float = Field(
        30, ge=0, description="Minutes a session may wait for input before JELMORE_ON_TIMEOUT is done."
    )
    idle_after_s: float = Field(300, ge=0, description="Quiet time after which a session is frozen.")
    hibernate_after_s: float = Field(
        900,
        ge=0,
        description="Quiet time after which a frozen one gives up its container, and with it its slot. "
        "Where the timeout ends sessions it must come before that.",
    )
    warn_before_s: float = Field(
        120,
        ge=0,
        description="How long before the timeout a warning is sent; a late warning postpones the end.",
    )
    lifetime_s: float = Field(0, ge=0, description="Absolute age at which a session ends.")
    on_timeout: Literal["terminate", "hibernate"] = Field(
        "hibernate",
        description="What the timeout does: hibernate gives the container up and keeps the session; the next input "
        "resumes it. terminate ends the session.",
    )
    start_timeout_s: float = Field(60, gt=0, description="A session that is not ready by then has failed.")
    stop_timeout_s: float = Field(10, gt=0, description="Grace for Claude Code to end before it is killed.")
    probe_every_s: float = Field(30, gt=0, description="Between two health probes of a session.")
    probe_grace_s: float = Field(60, ge=0, description="After a start, before probes count.")
    probes_tolerated: int = Field(3, ge=1, description="Failed probes in a row before a session is restarted.")
    restarts_allowed: int = Field(3, ge=0, description="Restarts within the window before a session has failed.")
    restart_window_s: float = Field(600, gt=0, description="A healthy time this long forgets earlier restarts.")
    sweep_every_s: float = Field(300, gt=0, description="Between two sweeps for what no session owns.")
    monitor_every_s: float = Field(60, gt=0, description="Between two looks at every session.")
    quarantine_s: float = Field(60, ge=0, description="How long an unknown container of ours is left alone.")
    token_ttl_s: int = Field(3600, ge=60, description="Life of a session token.")
    workspace_retention_s: float = Field(
        7 * 86400, ge=0, description="How long an ended session's workspace is kept, for resuming. 0 keeps it for ever."
    )
    record_retention_s: float = Field(0, ge=0, description="How long an ended session's record is kept. 0: for ever.")
    hot_tail_entries: int = Field(10_000, ge=100, description="Output per session kept in Redis.")
    hot_tail_ttl_s: int = Field(3600, ge=60, description="How long Redis keeps an ended session's output.")
    events_max_age_s: float = Field(
        7 * 86400,
        ge=0,
        description="How long NATS and the log behind /events keep events. In NATS it is set when the stream is made; "
        "an existing one is changed with NATS's own tools. 0: for ever.",
    )
    events_max_bytes: int = Field(
        1024 * MEBIBYTE, ge=0, description="How much of events NATS keeps, likewise; the oldest give way. 0: all."
    )
    min_free_disk_bytes: int = Field(
        1024 * MEBIBYTE,
        ge=0,
        description="Free disk, of the data and of the engine's volumes, below which no session is created.",
    )
    audit_retention_s: float = Field(90 * 86400, ge=0, description="How long the audit log keeps entries. 0: for ever.")
    rate_limit_per_minute: int = Field(
        0,
        ge=0,
        description="Requests per API key and minute, of all managers together; while Redis is away, of each. "
        "0 does not limit.",
    )

    # --- logs and reports
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object per line, or text for people.")

    @field_validator("run_dir", "data_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("package_hosts")
    @classmethod
    def _rules(cls, text: str) -> str:
        for word in split_words(text):
            parse_rule(word)
        return text

    @field_validator("egress_denied_networks", "egress_allowed_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for word in split_words(text):
            ipaddress.ip_network(word)
        return text

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        longest = self.run_dir / "01234567-89ab-cdef-0123-456789abcdef" / "control.sock"
        if len(os.fsencode(longest)) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"JELMORE_RUN_DIR: a socket path below {self.run_dir} is too long; choose a shorter one")
        for name in ("memory_bytes", "cpus", "pids", "workspace_bytes", "output_bytes", "output_bytes_per_s"):
            if getattr(self, name) > getattr(self, f"max_{name}"):
                raise ValueError(f"JELMORE_{name.upper()}: is above JELMORE_MAX_{name.upper()}")
        if 0 < self.workspace_bytes < MINIMUM_WORKSPACE_BYTES:
            raise ValueError(f"JELMORE_WORKSPACE_BYTES: is neither 0 nor at least {MINIMUM_WORKSPACE_BYTES}")
        return self

    @property
    def webhook_private_host_list(self) -> tuple[str, ...]:
        """The hosts of `webhook_private_hosts`."""
        return tuple(word.strip() for word in self.webhook_private_hosts.split(",") if word.strip())

    @property
    def cors_origin_list(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def limits(self) -> Limits:
        """The limits of a session whose spec sets none."""
        kept = (self.output_bytes, self.output_bytes_per_s)
        return Limits(self.memory_bytes, self.cpus, self.pids, self.workspace_bytes, *kept)

    @property
    def ceiling(self) -> Limits:
        """The most a session may ask for."""
        kept = (self.max_output_bytes, self.max_output_bytes_per_s)
        return Limits(self.max_memory_bytes, self.max_cpus, self.max_pids, self.max_workspace_bytes, *kept)

    @property
    def timing(self) -> Timing:
        """The timing of a session whose spec sets none."""
        return Timing(
            idle_after_s=self.idle_after_s,
            hibernate_after_s=self.hibernate_after_s,
            timeout_s=self.timeout_minutes * 60,
            warn_before_s=self.warn_before_s,
            lifetime_s=self.lifetime_s,
            hibernate_on_timeout=self.on_timeout == "hibernate",
        )

    @property
    def policy(self) -> Policy:
        """The time limits of the reconciler."""
        return Policy(
            start_timeout_s=self.start_timeout_s,
            stop_timeout_s=self.stop_timeout_s,
            probes_tolerated=self.probes_tolerated,
            restarts_allowed=self.restarts_allowed,
            restart_window_s=self.restart_window_s,
        )


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`. Raises SettingsError naming the first bad or unknown one."""
    _refuse_unknown({**dotenv_values(".env"), **os.environ})
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        variable = name if name.isupper() else f"JELMORE_{name.upper()}"
        text = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"{variable}: {text}" if name else text) from None


_PREFIX: Final = "JELMORE_"
_OTHERS: Final = frozenset(
    {
        "JELMORE_URL",  # the quick start writes it for the user's shell
        "JELMORE_PYTHON",
        "JELMORE_SESSION",  # set in a session's processes: Jelmore may be developed inside a session
        "JELMORE_RUNNER",
        "JELMORE_BIND",
        "JELMORE_HTTP_PORT",
        "JELMORE_HTTPS_PORT",
        "JELMORE_DOCKER_SOCKET",
        "JELMORE_PROFILES_DIR",
    }
)
_OTHER_PREFIXES: Final = ("JELMORE_BUILD_", "JELMORE_RUNNER_", "JELMORE_TEST_", "JELMORE_DEBIAN_")
"""Prefixes of variables of compose.yaml, the scripts, and the runner in its container."""


def _refuse_unknown(environment: Mapping[str, str | None]) -> None:
    """Raise SettingsError for a `JELMORE_*` that nothing reads: a typo must not silently disable a limit."""
    known = {_PREFIX + name.upper() for name in Settings.model_fields} | _OTHERS
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in known and not name.startswith(_OTHER_PREFIXES):
            words = [each.removeprefix(_PREFIX) for each in sorted(known)]
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), words, n=1)
            hint = f"did you mean {_PREFIX}{near[0]}?" if near else "see docs/configuration.md"
            raise SettingsError(f"{name}: there is no such setting; {hint}")
