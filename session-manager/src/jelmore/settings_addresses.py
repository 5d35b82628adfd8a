"""The settings that say where things are: services, folders, public addresses, and the model."""

import os
import re
import socket
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jelmore.mcp_server_alias import route_of

MAX_SOCKET_PATH_BYTES: Final = 100
"""The kernel accepts 107; some libraries add a few bytes."""

_HOST_RULE: Final = re.compile(r"\*|(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


class AddressSettings(BaseSettings):
    """Part of `Settings`: addresses, folders and credentials of what this manager connects to."""

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
    allowed_hosts: str = Field(
        "",
        description="Names under which browsers may use this server, separated by commas, beside the name in "
        "JELMORE_PUBLIC_URL, the machine's own, localhost and IP addresses: as `box.lan` or `*.example.com`. `*` "
        "allows every name, and with it the pages of strangers.",
    )
    ports_host: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        description="Host below which each port of a session has a name of its own, as `ports.example.net`: all names "
        "below it must lead here, best in a domain that nothing else uses. Needs https, but for `localhost`. Unset: "
        "`localhost` where JELMORE_PUBLIC_URL is an address of this machine, else ports are only forwarded.",
    )
    ports_certificate: Path | None = Field(
        None,
        description="Folder with `cert.pem` and `key.pem` for all names below JELMORE_PORTS_HOST, as Caddy sees it. "
        "Needed where JELMORE_TLS is acme, because public authorities sign such names only through DNS.",
    )
    webhook_private_hosts: str = Field(
        "",
        description="Private hosts that webhooks may call, also without TLS: names, addresses and networks, separated "
        "by commas. All others must have public addresses.",
    )
    web_push_contact: str = Field(
        "",
        pattern=r"^((mailto:|https://)[^\s]+)?$",
        max_length=256,
        description="Whom the push services of browsers may write to when something is wrong, such as "
        "`mailto:ops@example.org`. Unset: no notifications to browsers.",
    )
    api_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="An admin key to accept from the start. Unset: make one with `jelmore-server key`.",
    )

    # --- traces
    otel_exporter_otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "otel_exporter_otlp_endpoint"),
        description="Where traces go, as OTLP over HTTP below this address (`/v1/traces`). Unset: nothing is traced.",
    )
    otel_exporter_otlp_headers: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_HEADERS", "otel_exporter_otlp_headers"),
        description="Headers for the receiver of traces, as `name=value`, separated by commas.",
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
        description="Token of a Claude subscription. It is personal: do not share sessions that use it.",
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
        "send a token. Keep it inside a private network: it is plain HTTP.",
    )
    secrets_key: SecretStr | None = Field(
        None,
        description="Encrypts the credentials of routes: 32 bytes in base64 (`openssl rand -base64 32`). Several, "
        "separated by commas: the first encrypts, all decrypt. Only the gateway gets it. Unset: a key that the gateway "
        "makes and keeps in its state; back that up.",
    )
    secrets_key_file: Path | None = Field(
        None, description="A file with these keys instead, one a line. It may change while the gateway runs."
    )
    skills_dir: Path | None = Field(
        None,
        description="A folder of skills (`NAME/SKILL.md`) that each session has. In containers it is read-only, "
        "and must be on the engine's machine.",
    )
    profile_skills_dir: Path | None = Field(
        None,
        description="A folder of such folders. A profile names one in `skills_dir`; its sessions have that in place of "
        "the deployment's.",
    )
    mcp_server: str = Field(
        "",
        validation_alias=AliasChoices("MCP_SERVER", "mcp_server"),
        description="Deprecated, for those who come from an earlier system: one MCP server over streamable HTTP that "
        "every session has as `default`, as a URL, or under a name, as NAME=URL. Register a route instead.",
    )
    mcp_servers_file: Path | None = Field(
        None,
        description="A JSON file of stdio MCP servers (`mcpServers`, as MCP clients have it). They run outside of the "
        "sandboxes, one process per session. Whoever writes it runs commands there. Read at the start. The deployment "
        "reads it in the container `mcp-servers`.",
    )
    mcp_servers_max: int = Field(
        64, ge=1, le=10_000, description="Processes of these servers at once, of all sessions."
    )
    mcp_servers_uid: int = Field(
        66_000,
        ge=1000,
        le=2**31 - 10_001,
        description="The first of 10000 user ids. Each process of these servers gets one of them, if root starts it. "
        "Choose ids that nobody has on the machine. The deployment uses those from 20000 on, in a container.",
    )
    gateway_state_dir: Path | None = Field(
        None,
        description="Where the gateway keeps its registrations and the usage that no manager has stored yet. "
        "Unset: `gateway` in the data folder.",
    )

    @field_validator("mcp_server")
    @classmethod
    def _one_server(cls, text: str) -> str:
        if text:
            route_of(text)
        return text

    @field_validator("run_dir", "data_dir", "skills_dir", "profile_skills_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, text: str) -> str:
        for word in words_of(text):
            if not _HOST_RULE.fullmatch(word):
                raise ValueError(f"{word!r} is not a host name; write it without scheme, port and path")
        return text

    @model_validator(mode="after")
    def _socket_paths_fit(self) -> Self:
        if not sockets_fit(self.run_dir):
            raise ValueError(f"JELMORE_RUN_DIR: a socket path below {self.run_dir} is too long; choose a shorter one")
        return self

    @model_validator(mode="after")
    def _certificates_fit(self) -> Self:
        if self.docker_tls_verify and self.docker_cert_path is None:
            raise ValueError(
                "DOCKER_CERT_PATH: is needed with DOCKER_TLS_VERIFY; without it nothing would be encrypted"
            )
        return self

    @model_validator(mode="after")
    def _ports_fit(self) -> Self:
        if self.ports_host is None:
            return self
        host, name = self.ports_host.lower().rstrip("."), urlsplit(self.public_url).hostname or ""
        if name != "localhost" and f".{name}".endswith(f".{host}"):
            words = "must not be the name in JELMORE_PUBLIC_URL or a domain above it: sessions could set cookies for it"
            raise ValueError(f"JELMORE_PORTS_HOST: {words}")
        if self.public_url.startswith("http:") and not f".{host}".endswith(".localhost"):
            words = (
                "needs https in JELMORE_PUBLIC_URL: with http a browser does not say which page asks for a port, so "
            )
            words += "sessions could use each other's; `localhost` is enough on one machine"
            raise ValueError(f"JELMORE_PORTS_HOST: {words}")
        if self.public_url.startswith("https:") and self.tls == "acme" and self.ports_certificate is None:
            raise ValueError("JELMORE_PORTS_CERTIFICATE: is needed for JELMORE_PORTS_HOST where JELMORE_TLS is acme")
        return self

    @property
    def effective_ports_host(self) -> str:
        """The host of the names of ports; empty: there are none. Browsers know every name below localhost."""
        local = urlsplit(self.public_url).hostname in {"localhost", "127.0.0.1", "::1"}
        return (self.ports_host or ("localhost" if local else "")).lower()

    @property
    def webhook_private_host_list(self) -> tuple[str, ...]:
        """The hosts of `webhook_private_hosts`."""
        return words_of(self.webhook_private_hosts)

    @property
    def allowed_host_list(self) -> tuple[str, ...]:
        """The names of `allowed_hosts`."""
        return words_of(self.allowed_hosts)

    @property
    def cors_origin_list(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return words_of(self.cors_origins)


def sockets_fit(run_dir: Path) -> bool:
    """Return whether the paths of sessions' sockets below this folder are short enough for the kernel."""
    longest = run_dir / "01234567-89ab-cdef-0123-456789abcdef" / "control.sock"
    return len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a setting, which are separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
