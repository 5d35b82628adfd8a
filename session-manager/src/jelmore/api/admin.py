"""Endpoints for operators: keys, drain, live settings, and the audit log. All need an admin key."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf
from jelmore.api.parameters import Decimal, Whole
from jelmore.api.responses import UtcTime
from jelmore.control.operator import LOG_LEVEL, MAX_SESSIONS, DrainReport, NewKey
from jelmore.ports import ApiKey, KeyRights, Role
from jelmore.ports.operator import AuditEntry, AuditQuery, LiveValue
from jelmore_protocol.bounded_shape import BoundedShape

router = APIRouter(prefix="/api/v1/admin", route_class=AuthenticatedRoute, tags=["admin"])

_PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"
_YEAR_S: Final = 365 * 86400
_LINES: Final = "application/x-ndjson"

KeyId = Annotated[str, Path(max_length=64, pattern=_PLAIN)]
Filter = Annotated[str | None, Query(max_length=64, pattern=_PLAIN)]


class Body(BoundedShape):
    """A request body."""

    model_config = ConfigDict(extra="forbid")


class KeyBody(Body):
    """A key to make."""

    name: str = Field(min_length=1, max_length=128, pattern=_PLAIN, description="Whose key it is.")
    role: Role = Role.CLIENT
    expires_in_s: int | None = Field(None, ge=1, le=10 * _YEAR_S, description="Unset: until it is revoked.")
    user_id: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        pattern=_PLAIN,
        description="Of a client key: its sessions are of this user, whose credentials and routes they use.",
    )
    act_as: bool = Field(
        default=False,
        description="Of a client key: its sessions use the credentials and routes of whatever `user_id` it names.",
    )


class KeyChangeBody(Body):
    """A change of a key."""

    act_as: bool = Field(description="Whether new sessions of a client key use what belongs to the `user_id` it names.")


class RotateBody(Body):
    """How long the former text of a rotated key still works. No text from before it works for longer: 0 ends all."""

    former_for_s: int = Field(3600, ge=0, le=30 * 86400)


class SettingsBody(Body):
    """Settings to change on every running manager. `null` goes back to the configured value."""

    max_sessions: int | None = Field(None, ge=1, le=10_000)
    log_level: Literal["debug", "info", "warning", "error"] | None = None


class KeyResponse(BaseModel):
    """An API key, without its text."""

    id: str
    name: str
    role: Role
    created_at: UtcTime
    expires_at: UtcTime | None
    last_used_at: UtcTime | None = Field(description="To the minute.")
    created_by: str | None
    user_id: str | None = Field(
        None, description="Whose key it is; of an account: who the person is at the identity provider."
    )
    act_as: bool = Field(description="Its sessions use the credentials and routes of whatever `user_id` it names.")
    signed_in_until: UtcTime | None = Field(None, description="Of an account: when its last sign-in ends.")


class NewKeyResponse(KeyResponse):
    """A key with its text, which is shown here only."""

    key: str


class DrainResponse(BaseModel):
    """The state of a drain."""

    draining: bool
    since: UtcTime | None
    by: str | None
    active_turns: int = Field(description="Turns that run or are about to begin, in sessions that start or resume.")
    drained: bool = Field(description="No turn runs, and none begins: every manager refuses them by now.")
    sessions: list[str] = Field(description="Their sessions, 100 at most.")


class SettingResponse(BaseModel):
    """A live setting."""

    value: int | str
    configured: int | str
    changed_at: UtcTime | None
    changed_by: str | None


class SettingsResponse(BaseModel):
    """The live settings."""

    max_sessions: SettingResponse
    log_level: SettingResponse


class AuditResponse(BaseModel):
    """An entry of the audit log."""

    id: int
    at: UtcTime
    actor: str = Field(description="The id of the key or participant.")
    actor_name: str
    action: str = Field(
        description="The operation id, as in this document. What is done over a WebSocket of a manager has that of the "
        "request that does the same; `get_terminal` and `get_port` are connections."
    )
    target: str = Field(description="The path of the request.")
    outcome: str = Field(
        description="The response's status; over a WebSocket `accepted`, `cancelled` or an error's code."
    )
    remote: str = Field(description="The address that the request came from, as Caddy saw it.")
    request_id: str


@router.get("/keys", name="list_keys", response_model=list[KeyResponse])
async def list_keys(context: ContextOf, caller: CallerOf) -> object:
    """List the keys that are not revoked, oldest first."""
    return [_show_key(key) for key in await context.services.operator.keys(caller)]


@router.post("/keys", name="create_key", status_code=201, response_model=NewKeyResponse)
async def create_key(context: ContextOf, caller: CallerOf, body: KeyBody) -> object:
    """Make a key."""
    rights = KeyRights(body.role, body.user_id, body.act_as)
    return _show_new(await context.services.operator.make_key(caller, body.name, rights, body.expires_in_s))


@router.patch("/keys/{key_id}", name="change_key", response_model=KeyResponse)
async def change_key(context: ContextOf, caller: CallerOf, key_id: KeyId, body: KeyChangeBody) -> object:
    """Let a client key act for every user, or no more. Sessions that exist keep what they were created with."""
    return _show_key(await context.services.operator.set_act_as(caller, key_id, act_as=body.act_as))


@router.post("/keys/{key_id}/rotate", name="rotate_key", response_model=NewKeyResponse)
async def rotate_key(context: ContextOf, caller: CallerOf, key_id: KeyId, body: RotateBody | None = None) -> object:
    """Replace the text of a key, which keeps its sessions and webhooks. The former text works for `former_for_s`.

    Texts from before it work no longer than that, so 0 leaves the new text alone.
    """
    former_for_s = (body or RotateBody()).former_for_s
    return _show_new(await context.services.operator.rotate_key(caller, key_id, former_for_s=former_for_s))


@router.delete("/keys/{key_id}", name="revoke_key", status_code=204)
async def revoke_key(context: ContextOf, caller: CallerOf, key_id: KeyId) -> None:
    """Revoke a key. Its streams, tokens, webhooks and invited people end within a second; its sessions continue."""
    await context.services.operator.revoke_key(caller, key_id)


@router.get("/drain", name="get_drain", response_model=DrainResponse)
async def get_drain(context: ContextOf, caller: CallerOf) -> object:
    """Return whether the installation drains, and which turns still run."""
    return _show_drain(await context.services.operator.drained(caller))


@router.post("/drain", name="drain", response_model=DrainResponse)
async def drain(
    context: ContextOf,
    caller: CallerOf,
    wait: Annotated[float, Query(ge=0, le=600, description="Seconds to wait until no turn runs."), Decimal] = 0,
) -> object:
    """Accept no new sessions and prompts on any manager (503 `draining`), before an upgrade. Running turns continue.

    It lasts until it is undone, also over restarts.
    """
    return _show_drain(await context.services.operator.drain(caller, wait_s=wait))


@router.delete("/drain", name="undo_drain", response_model=DrainResponse)
async def undo_drain(context: ContextOf, caller: CallerOf) -> object:
    """Accept sessions and prompts again."""
    return _show_drain(await context.services.operator.undo_drain(caller))


@router.get("/settings", name="get_live_settings", response_model=SettingsResponse)
async def get_live_settings(context: ContextOf, caller: CallerOf) -> object:
    """Return the settings that can be changed while managers run."""
    return _show_settings(await context.services.operator.settings(caller))


@router.patch("/settings", name="change_live_settings", response_model=SettingsResponse)
async def change_live_settings(context: ContextOf, caller: CallerOf, body: SettingsBody) -> object:
    """Change settings on every manager, within a second. Fewer `max_sessions` end no session: creates wait."""
    operator = context.services.operator
    await operator.change(caller, {name: getattr(body, name) for name in body.model_fields_set})
    return _show_settings(await operator.settings(caller))


@router.get(
    "/audit",
    name="list_audit",
    response_model=list[AuditResponse],
    responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}},
)
async def list_audit(
    context: ContextOf,
    caller: CallerOf,
    *,
    after: Annotated[int, Query(ge=0, le=2**62, description="Only entries with a higher id."), Whole] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000), Whole] = 1000,
    actor: Filter = None,
    action: Filter = None,
    since: Annotated[datetime | None, Query(description="Only entries from this time on.")] = None,
    format: Annotated[Literal["json", "ndjson"], Query(description="ndjson: one entry per line.")] = "json",  # noqa: A002
) -> object:
    """Return who did what, from where, oldest first: every request that may change something."""
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    entries = await context.services.audit.read(caller, AuditQuery(after, limit, actor, action, since))
    shown = [_show_audit(entry) for entry in entries]
    if format == "json":
        return shown
    lines = "".join(json.dumps(each.model_dump(mode="json")) + "\n" for each in shown)
    return Response(lines, media_type=_LINES)


def _show_key(key: ApiKey) -> KeyResponse:
    return KeyResponse(**_key_fields(key))


def _show_new(made: NewKey) -> NewKeyResponse:
    return NewKeyResponse(**_key_fields(made.key), key=made.text)


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in KeyResponse.model_fields}


def _show_drain(report: DrainReport) -> DrainResponse:
    return DrainResponse(
        draining=report.draining,
        since=report.since,
        by=report.by,
        active_turns=report.active_turns,
        drained=report.drained,
        sessions=[str(session_id) for session_id in report.sessions],
    )


def _show_settings(found: Any) -> SettingsResponse:
    return SettingsResponse(
        max_sessions=_show_setting(*found[MAX_SESSIONS]), log_level=_show_setting(*found[LOG_LEVEL])
    )


def _show_setting(value: Any, configured: Any, change: LiveValue | None) -> SettingResponse:
    return SettingResponse(
        value=value,
        configured=configured,
        changed_at=change.changed_at if change else None,
        changed_by=change.changed_by if change else None,
    )


def _show_audit(entry: AuditEntry) -> AuditResponse:
    return AuditResponse(**{name: getattr(entry, name) for name in AuditResponse.model_fields})
