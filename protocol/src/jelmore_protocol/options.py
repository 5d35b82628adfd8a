"""Shapes of the options that the agent is started with. The API and the runner share them."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jelmore_protocol.bounds import Name
from jelmore_protocol.vocabulary import VOLUME

MAX_LIST: Final = 256
MAX_TEXT_CHARACTERS: Final = 100_000
_FOLDERS: Final = (f"{VOLUME}/workspace", f"{VOLUME}/home")

_RESERVED_PREFIXES: Final = ("ANTHROPIC_", "CLAUDE", "JELMORE", "LD_", "DYLD_", "BUN_", "AWS_BEARER", "VERTEX_")
_RESERVED: Final = frozenset(
    {"PATH", "HOME", "SHELL", "USER", "PWD", "IFS", "ENV", "BASH_ENV", "TERM", "NODE_OPTIONS", "DISABLE_AUTOUPDATER"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"}
)

Effort = Literal["low", "medium", "high", "xhigh", "max"]
SettingSource = Literal["user", "project", "local"]


def _inside(path: str) -> str:
    """Return `path`. Raises ValueError unless it is relative to the workspace or in the session's volume."""
    if "\0" in path or ".." in path.split("/") or path.startswith("-"):
        raise ValueError("must not contain `..` or NUL, or begin with `-`")
    if path.startswith("/") and not any(path == folder or path.startswith(f"{folder}/") for folder in _FOLDERS):
        raise ValueError(f"must be relative to the workspace, or in {' or '.join(_FOLDERS)}")
    return path


def _variable(name: str) -> str:
    if name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
        raise ValueError(f"{name}: is set by Jelmore")
    return name


VolumePath = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_inside)]
SkillName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
"""The name of a skill's folder, after `plugin:` for one of a plugin. Claude Code refuses others and does not start."""

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"), AfterValidator(_variable)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Thinking(_Shape):
    """Whether and how much the model thinks. `budget_tokens` is for `enabled` only."""

    type: Literal["adaptive", "enabled", "disabled"]
    budget_tokens: Annotated[int, Field(ge=1024, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _budget(self) -> Self:
        if (self.type == "enabled") != (self.budget_tokens is not None):
            raise ValueError("budget_tokens: is needed with `enabled`, and only there")
        return self


class SubAgent(_Shape):
    """A sub-agent that the agent may start."""

    description: str = Field(min_length=1, max_length=4096)
    prompt: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)
    tools: list[Name] | None = Field(default=None, max_length=MAX_LIST)
    disallowed_tools: list[Name] | None = Field(default=None, max_length=MAX_LIST)
    model: Name | None = None
    skills: list[SkillName] | None = Field(default=None, max_length=MAX_LIST)
    max_turns: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    effort: Effort | None = None
    background: bool | None = None


Rules = Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(max_length=MAX_LIST)]


class PermissionRules(_Shape):
    """Rules such as `Bash(npm test:*)` or `Read(./secrets/**)`. A deny comes before an ask, an ask before an allow."""

    allow: Rules = []
    deny: Rules = []
    ask: Rules = []


class AgentSettings(_Shape):
    """Settings of the agent for this session."""

    permissions: PermissionRules = PermissionRules()
