"""What the API returns about credentials, keys, money and the server. Readers are tolerant, as `models.py` says."""

from datetime import date, datetime
from typing import Any

from pydantic import Field

from jelmore_client.models import Model


class Me(Model):
    """Whose key it is. `role` is admin, client or readonly."""

    id: str
    name: str
    role: str
    user_id: str | None = None


class Profile(Model):
    """Named defaults and ceilings of sessions. `fixed` are values that a create cannot change."""

    name: str
    description: str = ""
    defaults: dict[str, Any] = Field(default_factory=dict)
    ceiling: dict[str, Any] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)


class Profiles(Model):
    """The profiles in force. `error` says why the newest version of their `file` is not."""

    profiles: list[Profile] = Field(default_factory=list)
    file: str | None = None
    loaded_at: datetime | None = None
    error: dict[str, Any] | None = None


class TokenSum(Model):
    """Tokens and cost of turns."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0


class NamedSum(TokenSum):
    """What one day, user, key, model, session or turn used."""

    name: str = ""


class UsageReport(Model):
    """What was used on the days from `since` to `until`."""

    by: str
    since: date
    until: date
    items: list[NamedSum] = Field(default_factory=list)
    total: TokenSum = TokenSum()


class Credential(Model):
    """A credential that is set, without its value. `scope` is deployment, user or session, `owner` which."""

    name: str
    scope: str
    owner: str = ""
    kind: str = "value"
    changed_at: datetime | None = None
    state: dict[str, Any] | None = None


class Authorization(Model):
    """A route that can be authorized. `problem` says what is wrong with the credential that it has."""

    route: str
    host: str = ""
    credential: str = ""
    scope: str = ""
    kind: str | None = None
    problem: str = ""
    changed_at: datetime | None = None


class AuthorizationStart(Model):
    """Where a person agrees: open `url` in a browser."""

    url: str
    issuer: str = ""


class AuthorizedRoute(Model):
    """An authorization that is in force. `renewable`: it is renewed without the person."""

    route: str
    name: str
    scope: str
    owner: str = ""
    expires_at: datetime | None = None
    renewable: bool = False


class ApiKey(Model):
    """A key without its text."""

    id: str
    name: str
    role: str
    user_id: str | None = None
    act_as: bool = False
    created_at: datetime | None = None
    created_by: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class NewApiKey(ApiKey):
    """A key with its text, which is shown once."""

    key: str


class Budget(Model):
    """What the sessions of a key or user may cost in a period, and did."""

    scope: str
    subject: str
    period: str
    limit_usd: float
    spent_usd: float = 0.0
    updated_at: datetime | None = None
    updated_by: str = ""


class AuditEntry(Model):
    """A request that may have changed something: who, what, to what, with which outcome, from where."""

    id: int
    at: datetime
    actor: str
    actor_name: str = ""
    action: str
    target: str = ""
    outcome: str = ""
    remote: str = ""
    request_id: str = ""


class DrainState(Model):
    """Whether new work is refused. `drained`: no turn runs any more; `sessions` are those with a running one."""

    draining: bool
    drained: bool = False
    active_turns: int = 0
    sessions: list[str] = Field(default_factory=list)
    since: datetime | None = None
    by: str | None = None


class LiveSetting(Model):
    """A setting in force, and as it is configured."""

    value: int | str
    configured: int | str
    changed_at: datetime | None = None
    changed_by: str | None = None


class LiveSettings(Model):
    """The settings that can be changed while managers run."""

    max_sessions: LiveSetting
    log_level: LiveSetting


class ModelCheck(Model):
    """Whether the model API accepts the deployment's credential; None: it could not be asked, see `problem`."""

    accepted: bool | None = None
    credential: bool = False
    server: str = ""
    status: int = 0
    problem: str = ""
    at: datetime | None = None


class Route(Model):
    """A route of the gateway. `name` is `KIND/NAME`; `state` says whether an MCP server answers."""

    name: str
    url: str
    transport: str = "http"
    credential: str = ""
    header: str = ""
    prefix: str = ""
    users: list[str] | None = None
    profiles: list[str] | None = None
    private: bool = False
    oauth: dict[str, Any] | None = None
    state: dict[str, Any] | None = None


class CleanupReport(Model):
    """What no session owns. `removed` counts by kind what is gone now, `skipped` says what was not looked at."""

    entries: list[dict[str, Any]] = Field(default_factory=list)
    removed: dict[str, int] = Field(default_factory=dict)
    skipped: list[str] = Field(default_factory=list)
