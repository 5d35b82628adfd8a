"""The profiles of the deployment, and how a create combines with one."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf
from jelmore.api.responses import UtcTime
from jelmore.api.schemas import CreateBody
from jelmore.control.profiles import Profiles
from jelmore.control.requests import CreateRequest
from jelmore.session.errors import InvalidRequestError
from jelmore.session.profiles import Profile

router = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["system"])


class ProfileResponse(BaseModel):
    """A profile. `defaults` and `fixed` have fields of a create."""

    name: str
    description: str
    defaults: dict[str, Any] = Field(description="Used for what a create leaves out.")
    fixed: dict[str, Any] = Field(description="A create with another value is refused.")
    ceiling: dict[str, Any] = Field(description="The most that a create may ask for; null is no bound.")
    pool: int | None = Field(
        None, description="How many sandboxes are kept ready for it; null: for `default`, those of the deployment."
    )
    sandbox: dict[str, str] = Field(
        description="The `image`, `skills_dir` and `runtime` of its sandboxes, if it has its own."
    )


class ProfilesErrorResponse(BaseModel):
    """Why the present file is not in force. The profiles shown are those of the last good file."""

    message: str
    at: UtcTime


class ProfilesResponse(BaseModel):
    """The profiles that are in force."""

    profiles: list[ProfileResponse]
    file: str | None = Field(description="The file that they come from; null without one.")
    loaded_at: UtcTime | None
    error: ProfilesErrorResponse | None


@router.get("/profiles", response_model=ProfilesResponse, name="list_profiles")
async def list_profiles(context: ContextOf, caller: CallerOf) -> ProfilesResponse:  # noqa: ARG001 - any key may read them
    """List the profiles that a create may name, and the error of their file if it has one."""
    profiles = context.services.profiles
    error = profiles.error
    return ProfilesResponse(
        profiles=[_show(profile) for profile in profiles.all],
        file=profiles.file,
        loaded_at=profiles.loaded_at,
        error=None if error is None else ProfilesErrorResponse(message=error.message, at=error.at),
    )


def check_fields(values: Mapping[str, Any]) -> None:
    """Raise InvalidRequestError naming a field that a create does not have, or one with a bad value."""
    _read(values)


def create_request(body: CreateBody, profiles: Profiles, default_timeout_s: float | None) -> CreateRequest:
    """Return the request of a create under its profile.

    Raises InvalidRequestError naming a field that the profile fixes, or that exceeds its ceiling.
    """
    profile = profiles.named(body.profile)
    asked = body.model_dump(mode="json", exclude_unset=True, exclude={"profile"})
    combined = _read(profile.combine({name: value for name, value in asked.items() if value is not None}))
    profile.check(_bounded(combined))
    return combined.request(default_timeout_s, profile)


def _bounded(body: CreateBody) -> dict[str, Any]:
    given = body.model_dump(mode="json", exclude_none=True, exclude={"limits"})
    return {**given, "model": body.model, "limits": body.limits.requested()}


def _read(values: Mapping[str, Any]) -> CreateBody:
    try:
        return CreateBody.model_validate_json(json.dumps(values))
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise InvalidRequestError("a value has no JSON form") from None
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise InvalidRequestError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _show(profile: Profile) -> ProfileResponse:
    ceiling = profile.ceiling
    return ProfileResponse(
        name=profile.name,
        description=profile.description,
        defaults=dict(profile.defaults),
        fixed=dict(profile.fixed),
        ceiling={name: getattr(ceiling, name) for name in ceiling.__dataclass_fields__},
        pool=profile.pool,
        sandbox=profile.sandbox.snapshot(),
    )
