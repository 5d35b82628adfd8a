"""What the API returns about how a session runs. Readers are tolerant, as `models.py` says."""

from datetime import datetime
from typing import Any

from pydantic import Field

from jelmore_client.models import Model


class McpServer(Model):
    """An MCP server of the agent. `status` is such as connected, failed or disabled."""

    name: str
    status: str
    version: str | None = None
    error: str | None = None
    tools: list[str] = Field(default_factory=list)


class Check(Model):
    """One health check of a session."""

    at: datetime
    healthy: bool
    latency_ms: float = 0.0
    message: str = ""


class SessionHealth(Model):
    """A session's health, and its last checks, newest first."""

    status: str
    restarts: int = 0
    checks: list[Check] = Field(default_factory=list)


class Measurement(Model):
    """What a session used at one moment; CPU in thousandths of one."""

    at: datetime
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cpu_millis: int | None = None
    cpu_limit_millis: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    workspace_bytes: int | None = None
    workspace_limit_bytes: int | None = None
    oom_kills: int | None = None


class ResourceSeries(Model):
    """What a session used, measured with each health check, newest first."""

    latest: Measurement | None = None
    series: list[Measurement] = Field(default_factory=list)


class MeteredUsage(Model):
    """The gateway's own count of a session's tokens by model, and its newest calls on routes."""

    metered: list[dict[str, Any]] = Field(default_factory=list)
    calls: list[dict[str, Any]] = Field(default_factory=list)
