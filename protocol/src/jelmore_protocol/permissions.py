"""Answers to the agent's permissions and questions, and the permission updates that an answer may carry.

Claude Code ignores all updates of an answer when one of them is malformed, so they are validated strictly here.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jelmore_protocol.bounded_shape import BoundedShape
from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS, Name
from jelmore_protocol.vocabulary import PermissionMode as PermissionMode  # noqa: PLC0414 - its users find it here

MAX_UPDATES: Final = 32
MAX_RULES: Final = 100
MAX_RULE_CHARACTERS: Final = 4096


class _Update(BaseModel):
    """Base of the updates. Strict: a misspelled `ruleContent` would widen a rule to the whole tool."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    # Claude Code's suggestions name a settings file; an answer changes only the session, whatever it names.
    destination: Literal["session", "userSettings", "projectSettings", "localSettings"] = "session"


class Rule(BaseModel):
    """What a permission rule matches: a tool, or some uses of it (`ruleContent`, such as `npm test:*` for Bash)."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    toolName: Name  # noqa: N815 - Claude Code's name
    ruleContent: Annotated[str, Field(min_length=1, max_length=MAX_RULE_CHARACTERS)] | None = None  # noqa: N815


class RulesUpdate(_Update):
    """Adds, replaces or removes rules that allow, deny or ask."""

    type: Literal["addRules", "replaceRules", "removeRules"]
    rules: list[Rule] = Field(min_length=1, max_length=MAX_RULES)
    behavior: Literal["allow", "deny", "ask"]


class ModeUpdate(_Update):
    """Changes the permission mode."""

    type: Literal["setMode"]
    mode: PermissionMode


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError("must be an absolute path without `..`")
    return path


class DirectoriesUpdate(_Update):
    """Adds or removes directories that the agent may use beside its working directory."""

    type: Literal["addDirectories", "removeDirectories"]
    directories: list[Annotated[str, Field(max_length=4096), AfterValidator(_absolute)]] = Field(
        min_length=1, max_length=MAX_RULES
    )


PermissionUpdate = Annotated[RulesUpdate | ModeUpdate | DirectoriesUpdate, Field(discriminator="type")]


def for_session(update: PermissionUpdate) -> dict[str, Any]:
    """Return the update in Claude Code's form, with the session as its destination."""
    return {**update.model_dump(exclude_none=True), "destination": "session"}


class Answer(BoundedShape):
    """The answer to a pending permission or question. Only the first answer counts.

    `remember: session` also applies the rules that the request suggests (without any, its other suggestions) until the
    session ends; `updated_permissions` are applied in their place. Both need `allow`.
    """

    decision: Literal["allow", "deny"]
    # with deny: the reason that the agent receives; with allow, for a question: free text in place of the options
    message: str | None = Field(default=None, max_length=MAX_ANSWER_CHARACTERS)
    # with allow: the text of a question to a label, a free text, or, if it is multi-select, a list of them
    answers: dict[str, str | list[str]] | None = None
    updated_input: dict[str, Any] | None = None  # with allow: the tool's input, changed
    remember: Literal["once", "session"] | None = None
    updated_permissions: list[PermissionUpdate] | None = Field(default=None, max_length=MAX_UPDATES)
    interrupt: bool = False  # with deny: also end the turn

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.decision == "deny":
            if self.remember == "session" or self.updated_permissions:
                raise ValueError("remember and updated_permissions need the decision `allow`")
        elif self.interrupt:
            raise ValueError("interrupt needs the decision `deny`")
        if self.remember == "once" and self.updated_permissions:
            raise ValueError("updated_permissions are kept for the session: leave out remember, or send `session`")
        return self
