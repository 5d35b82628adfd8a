"""Every setting, read once at start. Each has a unit, a default and a reason; nothing else reads the environment.

Settings with a common name use it (`DATABASE_URL`, `ANTHROPIC_API_KEY` …); all others start with `JELMORE_`.
`docs/configuration.md` and `.env.example` are generated from this file, `settings_addresses.py` and
`settings_sign_in.py`.
"""

import ipaddress
import os
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator, model_validator

from jelmore.session.agent_uids import AGENT_UIDS, parse_uids
from jelmore.session.limits import MEBIBYTE, MINIMUM_MEMORY_BYTES, MINIMUM_WORKSPACE_BYTES, Limits
from jelmore.session.record import Timing
from jelmore.session.steps import Policy
from jelmore.settings_addresses import words_of
from jelmore.settings_names import unknown_name
from jelmore.settings_sign_in import SignInSettings
from jelmore_protocol.gateway import DEFAULT_ASK_S, MAX_ASK_S
from jelmore_protocol.network import parse_rule


class SettingsError(Exception):
    """A setting is not valid. The message names it and says what is allowed."""


class Settings(SignInSettings):
    """The configuration of one manager."""

    # --- sessions
    profiles: Path | None = Field(
        None,
        description="TOML file with named defaults and ceilings of sessions, read again when it changes.",
    )
    runtime: Literal["docker", "local"] = Field(
        "docker", description="docker: a container for each session. local: plain processes, with no isolation at all."
    )
    runner_image: str = Field("jelmore/runner:latest", description="The image of a session's container.")
    seccomp: Literal["jelmore", "engine"] = Field(
        "jelmore",
        description="The list of system calls that a sandbox may make: Jelmore's own or, for an engine that refuses "
        "it, the engine's default.",
    )
    apparmor: Literal["auto", "required", "off"] = Field(
        "auto",
        description="The AppArmor profile `jelmore-sandbox` for sandboxes. auto: where this process sees that it is "
        "loaded, which it does not in a container. required: always, and no session starts without it.",
    )
    oci_runtime: Literal["runc", "runsc"] = Field(
        "runc",
        description="What runs the containers of sessions: the engine's default runtime, or gVisor, which the engine "
        "must know as `runsc`.",
    )
    max_sessions: int = Field(3, ge=1, le=10_000, description="Sessions that may hold a container at once.")
    concurrent_starts: int = Field(
        4, ge=1, le=100, description="Containers started at once by one manager; a start takes about a core-second."
    )
    pool_size: int = Field(
        0,
        ge=0,
        le=1000,
        description="Sandboxes that are started ahead, so that a create with the default limits is quick. Each uses "
        "about 300 MB, 100 MB without an agent; there are never more of them than free slots. 0: none.",
    )
    pool_stage: Literal["connected", "runner"] = Field(
        "connected",
        description="How far they are started. connected: Claude Code runs, with the options of a create that asks for "
        "nothing; a session with others starts its own. runner: up to the runner only, which uses less memory.",
    )
    pool_max_age_s: float = Field(
        3600, ge=0, description="Age at which a sandbox that was started ahead is replaced. 0: never."
    )
    memory_bytes: int = Field(4096 * MEBIBYTE, ge=MINIMUM_MEMORY_BYTES, description="Memory of a session (swap equal).")
    cpus: float = Field(1.0, ge=0.1, description="Processors of a session.")
    cpu_shares: int = Field(
        256,
        ge=2,
        le=1024,
        description="Weight of a session where processors are busy. Containers of the deployment have 1024 each, so "
        "they come first.",
    )
    paused_to_swap: bool = Field(
        True,
        description="Move the memory of paused sessions, about 150 MB each, to the swap of the engine's host. Needs a "
        "manager that runs on that host with the rights to write to /sys/fs/cgroup, as a quick start of root does, and "
        "swap. The next turn of such a session takes longer.",
    )
    pids: int = Field(1024, ge=128, description="Processes of a session; builds need several hundred.")
    agent_uids: str = Field(
        f"{AGENT_UIDS.start}-{AGENT_UIDS[-1]}",
        description="User ids of the engine's host, as FIRST-LAST. The agent of a new session gets one of them, so the "
        "kernel counts what it uses apart from other sessions. Choose ids that nobody has there, from 30000 on. off: "
        "all agents share one. A session keeps the id that it began with.",
    )
    open_files: int = Field(
        16_384,
        ge=0,
        le=1_048_576,
        description="Files that each process of a session may have open. 0: what the engine allows. An engine without "
        "the rights of root cannot give more than it has itself.",
    )
    setup_timeout_s: float = Field(
        600,
        gt=0,
        le=86_400,
        description="How long the `setup` of a session may take before it is ended; the session then continues.",
    )
    workspace_files: int = Field(
        1_000_000,
        ge=0,
        le=100_000_000,
        description="Files and folders that a session's volume may hold; beyond it, what JELMORE_WORKSPACE_BYTES says "
        "happens. Counting ends after 5 s, at about a million on a busy machine. 0: no bound.",
    )
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
    egress_ask_s: float = Field(
        DEFAULT_ASK_S,
        gt=0,
        le=MAX_ASK_S,
        description="Seconds that a connection waits for a person where the session's `network` says so.",
    )
    # --- files, transcripts and pushes
    upload_bytes: int = Field(
        4 * 1024**3, ge=1024, description="Most bytes of one upload into a workspace, packed or not."
    )
    transcript_bytes: int = Field(
        256 * 1024**2,
        ge=1024**2,
        description="Most bytes of a session's transcripts in the database. What exceeds them is on its volume only.",
    )
    push_prefix: str = Field(
        "jelmore/",
        max_length=100,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._/-]*)?$",
        description="Prefix that a branch must have for a session's commits to be pushed to it. Empty: none.",
    )

    # --- idle sessions; 0 means never
    timeout_minutes: float = Field(
        30, ge=0, description="Minutes a session may wait for input before JELMORE_ON_TIMEOUT is done."
    )
    idle_after_s: float = Field(300, ge=0, description="Idle time after which a session is paused.")
    hibernate_after_s: float = Field(
        900,
        ge=0,
        description="Idle time after which a session is hibernated: its container is removed and its slot is free. "
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
        description="What the timeout does: hibernate removes the container and keeps the session; the next input "
        "resumes it. terminate ends the session.",
    )
    # --- starts, ends and health of sessions
    start_timeout_s: float = Field(60, gt=0, description="A session that is not ready by then has failed.")
    stop_timeout_s: float = Field(10, gt=0, description="Time that Claude Code has to end before it is killed.")
    probe_every_s: float = Field(30, gt=0, description="Interval between two health probes of a session.")
    probe_grace_s: float = Field(60, ge=0, description="Time after a start in which a session is not probed.")
    probes_tolerated: int = Field(3, ge=1, description="Failed probes in a row before a session is restarted.")
    restarts_allowed: int = Field(3, ge=0, description="Restarts before a session fails; see JELMORE_RESTART_WINDOW_S.")
    restart_window_s: float = Field(
        600, gt=0, description="Time without a restart after which earlier restarts no longer count."
    )
    # --- upkeep, and how long what is kept
    sweep_every_s: float = Field(300, gt=0, description="Interval between two sweeps for objects that no session owns.")
    monitor_every_s: float = Field(60, gt=0, description="Interval between two checks of every session.")
    quarantine_s: float = Field(
        60, ge=0, description="How long the sweep keeps an object without a session, other than a workspace."
    )
    token_ttl_s: int = Field(3600, ge=60, description="Time after which a session token expires.")
    workspace_retention_s: float = Field(
        7 * 86400, ge=0, description="How long an ended session's workspace is kept, for resuming. 0 keeps it for ever."
    )
    record_retention_s: float = Field(0, ge=0, description="How long an ended session's record is kept. 0: for ever.")
    hot_tail_entries: int = Field(10_000, ge=100, description="Newest outputs of a session that Redis keeps.")
    hot_tail_ttl_s: int = Field(3600, ge=60, description="How long Redis keeps an ended session's output.")
    events_max_age_s: float = Field(
        7 * 86400,
        ge=0,
        description="How long NATS and the log behind /events keep events. In NATS it is set when the stream is made; "
        "an existing one is changed with NATS's own tools. 0: for ever.",
    )
    events_max_bytes: int = Field(
        1024 * MEBIBYTE,
        ge=0,
        description="Bytes of events that NATS keeps; the oldest are removed. Set when the stream is made. 0: all.",
    )
    # --- bounds of the installation; 0 means none
    min_free_disk_bytes: int = Field(
        1024 * MEBIBYTE,
        ge=0,
        description="Free disk, of the data and of the engine's volumes, below which no session is created.",
    )
    audit_retention_s: float = Field(90 * 86400, ge=0, description="How long the audit log keeps entries. 0: for ever.")
    rate_limit_per_minute: int = Field(
        0,
        ge=0,
        description="Requests per API key and minute, over all managers; per manager while Redis is unavailable. "
        "0 does not limit.",
    )
    failures_per_minute: int = Field(
        60,
        ge=0,
        description="Wrong keys from one client address and minute, of each manager; more get 429, and a key that "
        "Jelmore has made never does. 0 does not limit.",
    )

    # --- logs and reports
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object per line, or text for people.")
    trace_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the requests without a `traceparent` that are traced, if any are."
    )
    trace_model_api: bool = Field(
        default=False, description="Send `traceparent` to the model API too, where requests are traced."
    )

    @field_validator("package_hosts")
    @classmethod
    def _rules(cls, text: str) -> str:
        for word in words_of(text):
            parse_rule(word)
        return text

    @field_validator("egress_denied_networks", "egress_allowed_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for word in words_of(text):
            ipaddress.ip_network(word)
        return text

    @field_validator("agent_uids")
    @classmethod
    def _uids(cls, text: str) -> str:
        parse_uids(text)
        return text

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        for name in ("memory_bytes", "cpus", "pids", "workspace_bytes", "output_bytes", "output_bytes_per_s"):
            if getattr(self, name) > getattr(self, f"max_{name}"):
                raise ValueError(f"JELMORE_{name.upper()}: is above JELMORE_MAX_{name.upper()}")
        if 0 < self.workspace_bytes < MINIMUM_WORKSPACE_BYTES:
            raise ValueError(f"JELMORE_WORKSPACE_BYTES: is neither 0 nor at least {MINIMUM_WORKSPACE_BYTES}")
        return self

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
    def package_host_list(self) -> tuple[str, ...]:
        """The rules of `package_hosts`."""
        return words_of(self.package_hosts)

    @property
    def egress_denied_list(self) -> tuple[str, ...]:
        """The networks of `egress_denied_networks`."""
        return words_of(self.egress_denied_networks)

    @property
    def egress_allowed_list(self) -> tuple[str, ...]:
        """The networks of `egress_allowed_networks`."""
        return words_of(self.egress_allowed_networks)

    @property
    def agent_uid_range(self) -> range | None:
        """The user ids of `agent_uids`, None when all agents share the image's."""
        return parse_uids(self.agent_uids)

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
    unknown = unknown_name({**dotenv_values(".env"), **os.environ}, Settings.model_fields)
    if unknown is not None:
        raise SettingsError(unknown)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        variable = name if name.isupper() else f"JELMORE_{name.upper()}"
        text = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"{variable}: {text}" if name else text) from None
