"""Endpoints for the gateway: routes to other servers, credentials, and what a session's calls used."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.parameters import Whole
from jelmore.api.responses import UtcTime
from jelmore.api.usage import UsageSumResponse
from jelmore.session.errors import InvalidRequestError
from jelmore_protocol.bounded_shape import BoundedShape
from jelmore_protocol.gateway import (
    CREDENTIAL_NAME,
    MAX_CREDENTIAL_BYTES,
    CredentialKey,
    CredentialKind,
    CredentialState,
    Route,
    Scope,
    ServerState,
)
from jelmore_protocol.oauth import OAuthClient, RouteOAuth

router = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["gateway"])
of_session = APIRouter(route_class=AuthenticatedRoute, tags=["sessions"])

Kind = Literal["mcp", "git", "pkg"]
Name = Annotated[str, Path(pattern=f"^{CREDENTIAL_NAME}$", examples=["github"])]
OfUser = Annotated[str | None, Query(max_length=256, min_length=1, description="The credential of this user.")]
OfSession = Annotated[UUID | None, Query(description="The credential of this session.")]


class RouteBody(BoundedShape):
    """A server that sessions reach under a name."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(max_length=2000, examples=["https://mcp.example.com/mcp"])
    credential: str = Field("", max_length=64, description="The name of the credential that the gateway adds.")
    header: str = Field("Authorization", max_length=64, description="The header that carries the credential.")
    prefix: str = Field("Bearer ", max_length=64, description="What comes before the credential in the header.")
    private: bool = Field(
        default=False, description="The server has an address of a private network. Without this, only public ones."
    )
    transport: Literal["http", "sse"] = Field(
        "http", description="Of an MCP server: streamable HTTP, or the older transport with server-sent events."
    )
    users: list[str] | None = Field(
        None, max_length=1000, description="Only sessions with one of these `user_id`s. Unset: every session."
    )
    profiles: list[str] | None = Field(
        None, max_length=1000, description="Only sessions of one of these profiles. Unset: of every profile."
    )
    oauth: RouteOAuth | None = Field(
        None, description="How people authorize the gateway there. Unset: as the server's metadata says."
    )


class RouteResponse(RouteBody):
    """A registered route. `name` is its path in a session."""

    name: str = Field(examples=["mcp/github"])
    state: ServerState | None = Field(
        None,
        description="In the list of routes: what an MCP server answered last, or why there is no access token.",
    )


class CredentialBody(BoundedShape):
    """A credential: a `value`, or `oauth` for a server that wants access tokens. It cannot be read again."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: str | None = Field(
        None, min_length=1, max_length=MAX_CREDENTIAL_BYTES, json_schema_extra={"writeOnly": True}, repr=False
    )
    oauth: OAuthClient | None = Field(None, repr=False)


class CredentialResponse(BaseModel):
    """A credential that is set, without its value."""

    name: str
    scope: str = Field(examples=["deployment"])
    owner: str = Field(description="The `user_id` or the session that it belongs to; empty for the deployment.")
    kind: CredentialKind = Field(examples=["value"])
    changed_at: UtcTime
    state: CredentialState | None = Field(
        None, description="Of an `oauth` credential that was used: how the last request for an access token went."
    )


class ModelCheckResponse(BaseModel):
    """What the model API says about the deployment's credential."""

    server: str = Field(description="Host and port of the model API.", examples=["api.anthropic.com"])
    credential: bool = Field(description="One is set. A scripted or a local model needs none.")
    accepted: bool | None = Field(description="Null: the API did not say; `problem` has the reason.")
    status: int = Field(description="The status of its response, 0 without one.")
    problem: str
    at: UtcTime


class ModelUsageResponse(BaseModel):
    """What the calls of one model used."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class RouteCallResponse(BaseModel):
    """A call on a route; for `egress`, a connection to another host that was refused: `method` names it."""

    at: UtcTime
    route: str = Field(examples=["mcp/github"])
    status: int
    method: str = Field(examples=["tools/call"])
    tool: str
    complete: bool = Field(description="False when the response broke off.")


class SessionUsageResponse(BaseModel):
    """What a session used, as the gateway metered it."""

    session_id: str
    metered: list[ModelUsageResponse]
    unreported: UsageSumResponse = Field(
        description="The part that no turn reported, because the agent or its container ended before. It is in all "
        "sums and budgets, at the average price of the model's tokens. Compared every 15 seconds."
    )
    calls: list[RouteCallResponse] = Field(
        description="The newest calls on routes, newest first. Arguments are not kept."
    )


@router.get("/admin/routes", response_model=list[RouteResponse], name="list_routes")
async def list_routes(context: ContextOf, caller: CallerOf) -> list[RouteResponse]:
    """Return every registered route, and whether MCP servers answer. For admins."""
    gateway = context.services.gateway
    states = await gateway.server_states(caller)
    return [RouteResponse(**each.model_dump(), state=states.get(each.name)) for each in await gateway.routes(caller)]


@router.put("/admin/routes/{kind}/{name}", response_model=RouteResponse, name="put_route")
async def put_route(context: ContextOf, caller: CallerOf, kind: Kind, name: Name, body: RouteBody) -> RouteResponse:
    """Register a route, in place of any earlier one of its name. Running sessions have it within seconds.

    Sessions that start later get each `mcp` route as an MCP server of that name. For admins.
    """
    if kind != "mcp" and body.transport != "http":
        raise InvalidRequestError("transport: is for routes of the kind mcp")
    try:
        route = Route(name=f"{kind}/{name}", **body.model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequestError(f"{first['loc'][0]}: {first['msg']}") from None
    await context.services.gateway.put_route(caller, route)
    return RouteResponse(**route.model_dump())


@router.delete("/admin/routes/{kind}/{name}", status_code=204, name="delete_route")
async def delete_route(context: ContextOf, caller: CallerOf, kind: Kind, name: Name) -> Response:
    """Remove a route. Its next call is refused within seconds. For admins."""
    await context.services.gateway.drop_route(caller, f"{kind}/{name}")
    return Response(status_code=204)


@router.get("/admin/model", response_model=ModelCheckResponse, name="check_model")
async def check_model(context: ContextOf, caller: CallerOf) -> ModelCheckResponse:
    """Ask the model API for its models, with the deployment's credential; costs nothing, takes up to 8 seconds.

    The answer is at most ten seconds old. For admins.
    """
    found = await context.services.gateway.check_model(caller)
    return ModelCheckResponse.model_validate(found, from_attributes=True)


@router.get("/credentials", response_model=list[CredentialResponse], name="list_credentials")
async def list_credentials(context: ContextOf, caller: CallerOf) -> list[CredentialResponse]:
    """Return the names of the credentials that are set. Values cannot be read. For admins; others see their own."""
    return [
        CredentialResponse(
            name=each.credential.name,
            scope=each.credential.scope.value,
            owner=each.credential.owner,
            kind=each.credential.kind,
            changed_at=each.changed_at,
            state=context.services.gateway.credential_state(each.credential),
        )
        for each in await context.services.gateway.credentials(caller)
    ]


@router.put("/credentials/{name}", status_code=204, name="put_credential")
async def put_credential(
    context: ContextOf,
    caller: CallerOf,
    name: Name,
    body: CredentialBody,
    user_id: OfUser = None,
    session_id: OfSession = None,
) -> Response:
    """Set a credential of the deployment, of a user or of a session. The narrowest one of a name is used.

    `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN` and `CLAUDE_CODE_OAUTH_TOKEN` are the credentials for the model. A
    session's may be set by its owner, a user's by the person who signed in as that user, the others by admins.
    """
    given = body.value if body.value is not None else body.oauth
    if given is None or (body.value is not None and body.oauth is not None):
        raise InvalidRequestError("value: give either value or oauth")
    await context.services.gateway.put_credential(caller, _whose(name, user_id, session_id), given)
    return Response(status_code=204)


@router.delete("/credentials/{name}", status_code=204, name="delete_credential")
async def delete_credential(
    context: ContextOf, caller: CallerOf, name: Name, user_id: OfUser = None, session_id: OfSession = None
) -> Response:
    """Remove a credential of the deployment, of a user or of a session."""
    await context.services.gateway.drop_credential(caller, _whose(name, user_id, session_id))
    return Response(status_code=204)


@of_session.get("/{session_id}/usage", response_model=SessionUsageResponse, name="session_usage")
async def session_usage(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 100,
) -> SessionUsageResponse:
    """Return the session's tokens by model as the gateway metered them, and its newest calls on routes.

    The figures in `usage` of the session are what Claude Code reports. These are counted outside of the sandbox, and
    what Claude Code leaves out of its reports is `unreported`.
    """
    await context.services.queries.get(caller, session_id)
    gateway = context.services.gateway
    return SessionUsageResponse(
        session_id=str(session_id),
        metered=[
            ModelUsageResponse.model_validate(each, from_attributes=True) for each in await gateway.usage(session_id)
        ],
        unreported=UsageSumResponse.of(await context.services.budgets.unreported(session_id)),
        calls=[
            RouteCallResponse.model_validate(each, from_attributes=True)
            for each in await gateway.calls(session_id, limit)
        ],
    )


def _whose(name: str, user_id: str | None, session_id: UUID | None) -> CredentialKey:
    if user_id is not None and session_id is not None:
        raise InvalidRequestError("session_id: give either user_id or session_id")
    if session_id is not None:
        return CredentialKey(scope=Scope.SESSION, owner=str(session_id), name=name)
    if user_id is not None:
        return CredentialKey(scope=Scope.USER, owner=user_id, name=name)
    return CredentialKey(scope=Scope.DEPLOYMENT, name=name)
