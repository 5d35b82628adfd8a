"""The options of the agent in the bodies of a create and a change: one field for each, none of them required."""

import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from jelmore.api.fields import MAX_ARGUMENT_BYTES, Body, Line, Text, argument_list, storable_json
from jelmore_protocol.options import (
    MAX_LIST,
    AgentSettings,
    Effort,
    SettingSource,
    SkillName,
    SubAgent,
    Thinking,
    VariableName,
    VolumePath,
)

MAX_AGENTS: Final = 64
MAX_VARIABLES: Final = 64

Tools = Annotated[list[Line], AfterValidator(argument_list), Field(max_length=MAX_LIST)]


class AgentOptionsBody(Body):
    """Options that reach Claude Code as they are."""

    system_prompt_mode: Literal["append", "replace"] | None = Field(
        default=None,
        description="Whether `system_prompt` is appended to Claude Code's own (the default) or replaces it.",
    )
    setting_sources: list[SettingSource] | None = Field(
        default=None,
        max_length=3,
        description="Which settings folders count. `project`: the repository's CLAUDE.md, skills, agents, commands.",
    )
    repository_hooks: bool | None = Field(
        default=None, description="Run the hooks of these settings and of plugins. Needs a profile that allows it."
    )
    repository_rules: bool | None = Field(
        default=None, description="Obey the allow rules of these settings. Needs a profile that allows it."
    )
    tools: Tools | None = Field(default=None, description="Claude Code's own tools that exist at all. Unset: all.")
    disallowed_tools: Tools | None = Field(default=None, description="Tools that are taken away.")
    effort: Effort | None = None
    thinking: Thinking | None = None
    fallback_model: Line | None = Field(default=None, description="Used while the model is overloaded or gone.")
    output_schema: dict[str, Any] | None = Field(
        default=None, description="A JSON Schema; results then have a `structured_output` that fits it."
    )
    agents: dict[Line, SubAgent] | None = Field(default=None, max_length=MAX_AGENTS, description="Sub-agents by name.")
    skills: Annotated[list[SkillName], Field(max_length=MAX_LIST)] | Literal["all"] | None = Field(
        default=None, description="The skills that the agent may use: some, `all`, or none with an empty list."
    )
    plugins: list[VolumePath] | None = Field(default=None, max_length=32, description="Folders of plugins.")
    add_dirs: list[VolumePath] | None = Field(
        default=None, max_length=32, description="Folders that the agent may use beside its working directory."
    )
    settings: AgentSettings | None = Field(default=None, description="Rules that allow, deny or ask.")
    env: dict[VariableName, Text] | None = Field(
        default=None,
        max_length=MAX_VARIABLES,
        description="Variables of the agent and its tools; the profile lists which.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name, value in self.options().items():
            storable_json(value)
            size = len(json.dumps(value))
            if size > MAX_ARGUMENT_BYTES:
                raise ValueError(f"{name}: must not exceed {MAX_ARGUMENT_BYTES} bytes as JSON, has {size}")
        return self

    def options(self) -> dict[str, Any]:
        """Return the options that are set, by name, as JSON values."""
        given = self.model_dump(mode="json", include=set(AgentOptionsBody.model_fields), exclude_none=True)
        return dict(given)
