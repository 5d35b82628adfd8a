"""Request bodies. Validation is strict: unknown fields and wrong types are refused, and the error names the field."""

import json
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from jelmore.api.agent_options import AgentOptionsBody
from jelmore.api.fields import Body, Line, Text, argument, argument_list, storable, storable_json
from jelmore.api.repository_body import StartingFiles
from jelmore.control.requests import Changes, CreateRequest
from jelmore.session.errors import TooLargeError
from jelmore.session.limits import MEBIBYTE
from jelmore.session.profiles import BUILT_IN, Profile
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS, MAX_ID_CHARACTERS
from jelmore_protocol.content import Block, Blocks, text_of
from jelmore_protocol.control import PermissionAnswer
from jelmore_protocol.network import MAX_RULES, AskRule, Rule
from jelmore_protocol.options import VolumePath
from jelmore_protocol.permissions import MAX_UPDATES, PermissionMode, PermissionUpdate
from jelmore_protocol.tokens import Scope

MAX_METADATA_BYTES: Final = 16 * 1024
MAX_TAGS: Final = 20
MAX_TAG_CHARACTERS: Final = 64
TAG_PATTERN: Final = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
"""A tag is on one line and has no space at either end."""

NetworkMode = Literal["none", "packages", "custom", "open"]

_YEAR_S: Final = 366 * 86400.0
_SIZE: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(|b|k|m|g)(?:i?b)?$", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": MEBIBYTE, "g": 1024 * MEBIBYTE}


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _bounded_input(text: str) -> str:
    """Return `text`. Raises TooLargeError, not ValueError, because it is answered with 413 instead of 422."""
    if len(text.encode("utf-8", "replace")) > MAX_INPUT_BYTES:
        raise TooLargeError(f"an input may have {MAX_INPUT_BYTES} bytes")
    return text


def _argument_json(servers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    argument(json.dumps({"mcpServers": servers}))  # as the SDK writes it: non-ASCII characters take six bytes
    return servers


def _storable_blocks(blocks: list[Block]) -> list[Block]:
    """Return `blocks`. Raises TooLargeError if their texts are too long together, ValueError as for a text."""
    text = text_of(blocks)
    _not_blank(storable(_bounded_input(text)))
    storable_json([block.model_dump() for block in blocks])
    return blocks


def _small(value: dict[str, Any]) -> dict[str, Any]:
    size = len(_compact(value))
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"must not exceed {MAX_METADATA_BYTES} bytes as JSON, has {size}")
    return value


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _distinct(words: list[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _bytes_of(value: Any) -> Any:
    """Convert text such as `2g` to bytes. Raises ValueError. Other types pass through to the type's own validation."""
    if isinstance(value, str):
        found = _SIZE.match(value.strip())
        if found is None:
            raise ValueError("must be a number of bytes, or like 512m or 2g")
        return int(float(found[1]) * _UNITS[found[2].lower()])
    return value


Prompt = Annotated[
    str,
    AfterValidator(_not_blank),
    AfterValidator(storable),
    AfterValidator(_bounded_input),
]
Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=TAG_PATTERN), AfterValidator(storable)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_distinct)]
Content = Annotated[Blocks, AfterValidator(_storable_blocks)]
Metadata = Annotated[dict[str, Any], AfterValidator(storable_json), AfterValidator(_small)]
Bytes = Annotated[int, BeforeValidator(_bytes_of, json_schema_input_type=str | int)]
_OUTPUT: Final = "Output that is journaled whole, in bytes or as `2g`; beyond it, large events are cut."
_WORKSPACE: Final = "Disk of the session's volume, in bytes or as `20g`."
_IDLE: Final = "Idle time until it is paused; 0 is never."
_HIBERNATE: Final = "Idle time until its container goes and the workspace waits; 0 is never."
_BUDGET: Final = "At this cost, in US dollars, its inputs wait (`waiting_for: budget`) until the budget is raised."
Budget = Annotated[float, Field(gt=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=_YEAR_S)]


class LimitsBody(Body):
    """Resource limits of the session's container. Unset values use the deployment's defaults; its maximums apply."""

    memory_bytes: int | None = Field(default=None, gt=0)
    memory: Bytes | None = Field(default=None, description="The same as memory_bytes, as `2g` or `512m`.", gt=0)
    cpus: float | None = Field(default=None, gt=0)
    pids: int | None = Field(default=None, gt=0)
    workspace_bytes: Bytes | None = Field(default=None, description=_WORKSPACE, gt=0)
    output_bytes: Bytes | None = Field(default=None, description=_OUTPUT, gt=0)
    output_bytes_per_s: Bytes | None = Field(default=None, description=f"{_OUTPUT} Per second, after a burst.", gt=0)

    @model_validator(mode="after")
    def _one_memory(self) -> Self:
        if self.memory is not None and self.memory_bytes is not None:
            raise ValueError("give memory or memory_bytes, not both")
        return self

    def requested(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        memory = self.memory_bytes if self.memory_bytes is not None else self.memory
        values = {
            "memory_bytes": memory,
            "cpus": self.cpus,
            "pids": self.pids,
            "workspace_bytes": self.workspace_bytes,
            "output_bytes": self.output_bytes,
            "output_bytes_per_s": self.output_bytes_per_s,
        }
        return {name: value for name, value in values.items() if value is not None}


class NetworkBody(Body):
    """What the session may reach beside the model."""

    mode: NetworkMode = Field(
        description="`none`: only the model. `packages`: the deployment's package registries and git hosts. `custom`: "
        "the hosts in `allow`. `open`: every public host, on ports 80 and 443.",
    )
    allow: list[Rule] = Field(
        default=[],
        max_length=MAX_RULES,
        description="Hosts as `example.com`, `example.com:8443` or `*.example.com`; without a port, 80 and 443.",
    )
    ask: list[AskRule] = Field(
        default=[],
        max_length=MAX_RULES,
        description="Hosts that a person is asked about when a connection is refused (`waiting_for: egress`); `*` is "
        "every public host name on ports 80 and 443.",
    )
    approved: list[Rule] = Field(
        default=[],
        max_length=MAX_RULES,
        description="Hosts that a person has allowed for the session. A change without one takes its approval back.",
    )


Network = Annotated[
    NetworkMode | NetworkBody | None,
    Field(description="A mode, or a mode with hosts. A refused request inside is answered with 403 and the reason."),
]


class CreateBody(StartingFiles, AgentOptionsBody):
    """A session to create. All fields are optional; a session without `query` waits for its first input."""

    profile: Line | None = Field(
        default=None, description="The profile whose defaults and ceilings apply. Unset: the profile `default`."
    )
    query: Prompt | None = Field(default=None, description="The first prompt.")
    user_id: Line | None = Field(default=None, description="Whose session it is, in the caller's own terms.")
    title: Line | None = None
    tags: Tags = Field(default=[])
    metadata: Metadata = Field(default={}, description="Any JSON object up to 16 KiB; a filter of the list.")
    model: Line | None = None
    permission_mode: PermissionMode = "default"
    allowed_tools: Annotated[list[Line], AfterValidator(argument_list)] = Field(default=[], max_length=256)
    system_prompt: Annotated[Text, AfterValidator(argument)] | None = Field(
        default=None, description="See `system_prompt_mode`; at most 120,000 bytes."
    )
    cwd: VolumePath | None = Field(
        default=None, description="Where the agent starts, relative to the workspace; made if it is missing."
    )
    max_turns: int | None = Field(default=None, ge=1, le=1_000_000)
    max_budget_usd: float | None = Field(default=None, gt=0)
    mcp_servers: Annotated[dict[str, dict[str, Any]], AfterValidator(storable_json), AfterValidator(_argument_json)] = (
        Field(default={}, max_length=64, description="At most 120,000 bytes as JSON.")
    )
    budget_usd: Budget | None = Field(default=None, description=_BUDGET)
    network: Network = None
    limits: LimitsBody = LimitsBody()
    timeout_minutes: Annotated[float, Field(ge=0, le=_YEAR_S / 60)] | None = Field(
        default=None, description="How long it may wait for input; 0 is for ever."
    )
    idle_after_s: Seconds | None = Field(default=None, description=_IDLE)
    hibernate_after_s: Seconds | None = Field(default=None, description=_HIBERNATE)
    warn_before_s: Seconds | None = Field(
        default=None,
        description="How long before the timeout it is announced; a late warning postpones the end.",
    )
    lifetime_s: Seconds | None = Field(default=None, description="Age at which it ends in any case; 0 is never.")
    on_timeout: Literal["terminate", "hibernate"] | None = None
    answer_within_s: Seconds | None = Field(
        default=None, description="How long a permission or question waits before it is denied; 0 is for ever."
    )

    def request(self, default_timeout_s: float | None, profile: Profile = BUILT_IN) -> CreateRequest:
        """Convert the request body to a `CreateRequest`."""
        timing: dict[str, Any] = {
            "timeout_s": default_timeout_s if self.timeout_minutes is None else self.timeout_minutes * 60,
            "idle_after_s": self.idle_after_s,
            "hibernate_after_s": self.hibernate_after_s,
            "warn_before_s": self.warn_before_s,
            "lifetime_s": self.lifetime_s,
            "answer_within_s": self.answer_within_s,
            "hibernate_on_timeout": None if self.on_timeout is None else self.on_timeout == "hibernate",
        }
        return CreateRequest(
            profile=profile,
            repository=None if self.repository is None else self.repository.wanted(),
            base=self.base,
            query=self.query,
            user_id=self.user_id,
            title=self.title,
            tags=tuple(self.tags),
            metadata=dict(self.metadata),
            model=self.model,
            permission_mode=self.permission_mode,
            allowed_tools=tuple(self.allowed_tools),
            system_prompt=self.system_prompt,
            max_turns=self.max_turns,
            max_budget_usd=self.max_budget_usd,
            budget_usd=self.budget_usd,
            mcp_servers=dict(self.mcp_servers),
            options=self.options() | ({} if self.cwd is None else {"cwd": self.cwd}) | self.setup_option(),
            network=_network(self.network) or {},
            limits=self.limits.requested(),
            timing={name: value for name, value in timing.items() if value is not None},
        )


def _network(network: str | NetworkBody | None) -> dict[str, Any] | None:
    if network is None:
        return None
    return (
        {"mode": network}
        if isinstance(network, str)
        else network.model_dump(exclude={name for name in ("ask", "approved") if not getattr(network, name)})
    )


class ChangeLimitsBody(Body):
    """Limits that can be changed on a live session. They apply at once, also to a session stopped by its limit."""

    workspace_bytes: Bytes | None = Field(default=None, description=_WORKSPACE, gt=0)
    output_bytes: Bytes | None = Field(default=None, description=_OUTPUT, gt=0)
    output_bytes_per_s: Bytes | None = Field(default=None, description=f"{_OUTPUT} Per second, after a burst.", gt=0)


class ChangeBody(AgentOptionsBody):
    """A change of a session. Fields that are left out keep their value.

    Title, metadata, tags, times, limits, `network`, `model`, `permission_mode`, `effort` and `answer_within_s` take
    effect at once. The other options of the agent need a new process of it, in which the conversation is resumed.
    """

    title: Line | None = None
    metadata: Metadata | None = Field(default=None, description="Replaces the whole of it.")
    archived: bool | None = Field(default=None, description="Whether lists leave it out; it ends nothing.")
    pinned: bool | None = None
    tags: Tags | None = Field(default=None, description="Replaces all of them.")
    timeout_minutes: Annotated[float, Field(ge=0, le=_YEAR_S / 60)] | None = None
    idle_after_s: Seconds | None = Field(default=None, description=_IDLE)
    hibernate_after_s: Seconds | None = Field(default=None, description=_HIBERNATE)
    model: Line | None = Field(default=None, description="For the turns from now on.")
    budget_usd: Budget | None = Field(default=None, description=_BUDGET)
    permission_mode: PermissionMode | None = None
    answer_within_s: Seconds | None = Field(
        default=None, description="For later permissions and questions; 0 is for ever."
    )
    allowed_tools: Annotated[list[Line], AfterValidator(argument_list)] | None = Field(default=None, max_length=256)
    system_prompt: Annotated[Text, AfterValidator(argument)] | None = None
    max_turns: int | None = Field(default=None, ge=1, le=1_000_000)
    max_budget_usd: float | None = Field(default=None, gt=0)
    mcp_servers: (
        Annotated[dict[str, dict[str, Any]], AfterValidator(storable_json), AfterValidator(_argument_json)] | None
    ) = Field(default=None, max_length=64, description="Replaces all of them.")
    network: Network = None
    limits: ChangeLimitsBody = ChangeLimitsBody()

    def changes(self) -> Changes:
        """Convert the request body to `Changes`."""
        return Changes(
            title=self.title,
            metadata=self.metadata,
            archived=self.archived,
            pinned=self.pinned,
            tags=None if self.tags is None else tuple(self.tags),
            timeout_s=None if self.timeout_minutes is None else self.timeout_minutes * 60,
            idle_after_s=self.idle_after_s,
            hibernate_after_s=self.hibernate_after_s,
            model=self.model,
            budget_usd=self.budget_usd,
            permission_mode=self.permission_mode,
            answer_within_s=self.answer_within_s,
            allowed_tools=None if self.allowed_tools is None else tuple(self.allowed_tools),
            system_prompt=self.system_prompt,
            max_turns=self.max_turns,
            max_budget_usd=self.max_budget_usd,
            mcp_servers=self.mcp_servers,
            network=_network(self.network),
            options=self.options(),
            limits=self.limits.model_dump(exclude_none=True),
        )


class InputBody(Body):
    """A prompt. A repeated `id` is the same input, so a retried request does not start a second turn."""

    input: Prompt | Content = Field(description="A text, or content blocks: texts, images and documents.")
    expand: bool = Field(
        default=False,
        description="Run a slash command at its start, and read the files that `@path` names. Else it is plain text.",
    )
    id: Annotated[str, Field(pattern=rf"^[!-~]{{1,{MAX_ID_CHARACTERS}}}$")] | None = None


class AnswerBody(Body):
    """The answer to a pending permission or question. The first answer counts."""

    decision: Literal["allow", "deny"]
    message: Annotated[Text, Field(max_length=MAX_ANSWER_CHARACTERS)] | None = Field(
        default=None,
        description="With deny: the reason that Claude receives. With allow, for a question: free text as the answer.",
    )
    answers: dict[Text, Text | list[Text]] | None = Field(
        default=None,
        description="With a question: its text to the chosen label, to a text of one's own, or, if it is multi-select, "
        "to a list of them.",
    )
    updated_input: Annotated[dict[str, Any], AfterValidator(storable_json)] | None = Field(
        default=None, description="With allow: the tool's input, changed."
    )
    remember: Literal["once", "session"] | None = Field(
        default=None,
        description="With allow, `session`: apply the rules that the request suggests (without any, its other "
        "suggestions) until the session ends.",
    )
    updated_permissions: list[PermissionUpdate] | None = Field(
        default=None,
        max_length=MAX_UPDATES,
        description="With allow: applied in place of the suggestions, always for this session only.",
    )
    interrupt: bool = Field(default=False, description="With deny: also end the turn.")

    @field_validator("updated_permissions")
    @classmethod
    def _storable_updates(cls, updates: list[PermissionUpdate] | None) -> list[PermissionUpdate] | None:
        storable_json([update.model_dump() for update in updates or []])
        return updates

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.answer()
        return self

    def answer(self) -> PermissionAnswer:
        """Convert the request body to the answer that the runner gets. Raises ValueError for contradictory fields."""
        return PermissionAnswer(**{name: getattr(self, name) for name in self.model_fields_set})


class TokenBody(Body):
    """The scopes of a new token, and whether it replaces the earlier ones."""

    scopes: list[Literal["read", "write"]] = Field(default=["read", "write"], min_length=1, max_length=2)
    rotate: bool = Field(
        default=False,
        description="End all earlier tokens of the session, and the connections that were opened with them.",
    )

    def wanted(self) -> frozenset[Scope]:
        """Return the requested scopes."""
        return frozenset(Scope(word) for word in self.scopes)
