"""What the API returns. Readers are tolerant: fields of a newer server are kept, missing ones have defaults."""

from datetime import datetime
from typing import Any, Final, Literal, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from jelmore_client.core import notebook
from jelmore_client.errors import ProtocolError

_NOT_JELMORE: Final = "is the URL that of a Jelmore server, and the server of a version that this client knows?"


class Model(BaseModel):
    """Base of all models."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)  # an import builds no validator

    @classmethod
    def read(cls, value: Any) -> Self:
        """Return what a server sent. Raises ProtocolError when it is something else."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
            raise ProtocolError(
                f"this is no {cls.__name__} of Jelmore{where and f' ({where})'}: {_NOT_JELMORE}"
            ) from None


class Usage(Model):
    """Totals of a session."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class Urls(Model):
    """URLs of a session. They contain no token or key."""

    session: str = ""
    ws: str = ""
    stream: str = ""
    output: str = ""
    events: str = ""


class Port(Model):
    """A TCP port on which a process of the session listens. `since` is when the process started."""

    port: int
    command: str = ""
    since: datetime | None = None


class PortLink(Model):
    """A link with which a browser sees a port of a session."""

    url: str
    expires_at: datetime


class StartedFrom(Model):
    """The repository that a session started from. `branch` is None for a tag or a commit."""

    url: str
    ref: str | None = None
    branch: str | None = None
    commit: str


class SessionInfo(Model):
    """A session as the server describes it."""

    id: str
    status: str
    waiting_for: str | None = None
    presence: str = ""
    title: str | None = None
    query: str | None = None
    user_id: str | None = None
    model: str | None = None
    permission_mode: str = "default"
    metadata: dict[str, Any] = Field(default_factory=dict)
    archived: bool = False
    current_directory: str | None = None
    created_at: datetime | None = None
    last_activity: datetime | None = None
    terminated_at: datetime | None = None
    end_reason: str | None = None
    failure: dict[str, Any] | None = None
    output_buffer_size: int = 0
    usage: Usage = Usage()
    urls: Urls = Urls()
    repository: StartedFrom | None = None
    base: str | None = None
    forked_from: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether the session is terminated or failed."""
        return self.status in {"terminated", "failed"}

    def _repr_markdown_(self) -> str:
        return notebook.facts(
            {
                "session": self.id,
                "title": self.title,
                "status": self.status,
                "waits for": self.waiting_for,
                "ended because": self.end_reason,
                "repository": self.repository.url if self.repository else None,
                "turns": self.usage.turns,
                "cost": f"${self.usage.cost_usd:.4f}",
            }
        )


class SessionToken(Model):
    """A token for the session's own URL, which is in `urls`."""

    session_id: str
    token: str
    token_expires_at: datetime
    urls: Urls = Urls()


class Erasure(Model):
    """The proof of an erasure: how many objects of each kind were found, and how many are left."""

    session_id: str
    erased_at: datetime
    erased_by: str = ""
    found: dict[str, int] = Field(default_factory=dict)
    remaining: dict[str, int] = Field(default_factory=dict)


class Pending(Model):
    """A permission, question or connection (`waiting_for` is `egress`) that waits for an answer."""

    request_id: str
    waiting_for: str
    tool: str = ""
    title: str = ""
    input: dict[str, Any] = Field(default_factory=dict)
    suggestions: list[dict[str, Any]] = Field(default_factory=list)

    def _repr_markdown_(self) -> str:
        asked = self.input.get("command", self.input)
        return f"{notebook.plain(self.title or self.tool)}\n\n{notebook.code(asked)}"


class Event(Model):
    """A numbered output of a session. `kind` is one of the kinds of docs/protocol.md; ignore unknown ones."""

    seq: int
    kind: str
    at: datetime
    data: dict[str, Any]

    @property
    def text(self) -> str:
        """The text that the agent said, or the result of a finished turn; empty for other kinds."""
        is_said = self.kind == "said" and self.data.get("role") == "assistant" and not self.data.get("thinking")
        return str(self.data.get("text") or "") if is_said or self.kind == "turn_ended" else ""


class FileEntry(Model):
    """An entry of a folder. `size` is of a file; `target` is where a link leads, which is never followed.

    `encoded` is only there for a name that is no UTF-8 text; the calls about files take `file_name`.
    """

    name: str
    encoded: str | None = None
    type: str
    size: int | None = None
    modified: float | None = None
    target: str | None = None

    @property
    def file_name(self) -> str:
        """The name for further calls. A byte that is no UTF-8 is half a surrogate pair, as `os.fsencode` takes it."""
        return self.name if self.encoded is None else unquote(self.encoded, errors="surrogateescape")


class ChangedFile(Model):
    """A file that differs. `old_path` is of a renamed or copied file; a binary file has no line counts."""

    path: str
    old_path: str | None = None
    status: str
    additions: int = 0
    deletions: int = 0
    binary: bool = False


class Diff(Model):
    """What differs between the commit `base` and the workspace. `head` is the workspace's own last commit.

    `changed` counts the files that differ; `files` has only the first of them when it is `truncated`.
    """

    base: str
    head: str | None = None
    changed: int
    additions: int = 0
    deletions: int = 0
    files: list[ChangedFile] = Field(default_factory=list)
    truncated: bool = False

    def _repr_markdown_(self) -> str:
        rows = [(each.path, each.status, f"+{each.additions}", f"-{each.deletions}") for each in self.files]
        left = self.changed - len(self.files)
        return notebook.table(
            ("file", "change", "", ""), [*rows, *([(f"and {left} more", "", "", "")] if left else [])]
        )


class Commit(Model):
    """The workspace's commit. `created` is False when there was nothing to commit."""

    commit: str
    created: bool


class Pushed(Model):
    """A branch of a git host that holds the workspace's commits. `pushed` is False when it had them already."""

    url: str
    branch: str
    commit: str
    pushed: bool


class TurnResult(Model):
    """How a turn ended. `outcome` is completed or failed; `usage` holds the token counts of the agent's report."""

    input_id: str
    outcome: str
    subtype: str | None = None
    text: str = ""
    structured_output: Any = None
    usage: dict[str, Any] = Field(default_factory=dict)
    cost_usd: float | None = None
    duration_ms: float | None = None

    @field_validator("text", mode="before")
    @classmethod
    def _no_text(cls, value: Any) -> Any:
        return "" if value is None else value  # a turn that failed or was interrupted has none

    @property
    def ok(self) -> bool:
        """Whether the turn completed."""
        return self.outcome == "completed"

    @property
    def failure(self) -> str | None:
        """Why the turn failed, in a line; None when it completed.

        Claude Code reports a call of the model that failed with the subtype `success` and the error as the text.
        """
        if self.ok:
            return None
        if self.subtype not in {None, "", "success"}:
            return self.subtype
        return self.text.strip().partition("\n")[0] or "no reason was given"

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text


class Accepted(Model):
    """An accepted input. `seq` is the output that records it; what follows has higher numbers.

    With `waking`, its hibernated session is being resumed, and `seq` is the newest output before it.
    """

    input_id: str
    seq: int
    waking: bool = False


class QueuedInput(Accepted):
    """A prompt that waits for the agent, and who sent it."""

    input: str = ""
    by: str = ""


class QueueChange(Model):
    """A prompt whose text was changed or that was cancelled. `seq` is the output that records it."""

    input_id: str
    seq: int


class Command(Model):
    """A slash command. `argument_hint` says what may follow it."""

    name: str
    description: str = ""
    argument_hint: str = ""


class Message(Model):
    """A message of the conversation."""

    seq: int
    role: str
    sender: str = ""
    at: datetime | None = None
    text: str = ""
    blocks: list[dict[str, Any]] = Field(default_factory=list)
    input_id: str | None = None


class Repository(BaseModel):
    """A git repository to start a session from, which the server fetches.

    `ref` is a branch, a tag or a whole commit id (None: the default branch), `depth` the number of commits of history
    (None: all), `credential` the name of a credential that the server has for the repository's host.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    ref: str | None = None
    depth: int | None = None
    credential: str | None = None


class Answer(BaseModel):
    """An answer to a `Pending` request. Make it with `Answer.allow`, `Answer.deny` or `Answer.choose`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Literal["allow", "deny"]
    message: str | None = None
    answers: dict[str, str | list[str]] | None = None
    updated_input: dict[str, Any] | None = None
    remember: Literal["once", "session"] | None = None
    updated_permissions: list[dict[str, Any]] | None = None
    interrupt: bool | None = None

    @classmethod
    def allow(
        cls,
        updated_input: dict[str, Any] | None = None,
        *,
        always: bool = False,
        updated_permissions: list[dict[str, Any]] | None = None,
    ) -> "Answer":
        """Allow the tool use, as asked or with a changed input; `always`: the same kind for the whole session.

        `updated_permissions` are rules for the session in place of the request's `suggestions`, such as edited ones.
        """
        return cls(
            decision="allow",
            updated_input=updated_input,
            remember="session" if always else None,
            updated_permissions=updated_permissions,
        )

    @classmethod
    def deny(cls, message: str | None = None, *, interrupt: bool = False) -> "Answer":
        """Deny it; the agent receives `message` as the reason. `interrupt` also ends the turn."""
        return cls(decision="deny", message=message, interrupt=interrupt or None)

    @classmethod
    def choose(cls, answers: dict[str, str | list[str]]) -> "Answer":
        """Answer a question: its text to the chosen label, to free text, or to a list of labels (multi-select)."""
        return cls(decision="allow", answers=answers)
