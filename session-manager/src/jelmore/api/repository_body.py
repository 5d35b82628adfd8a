"""What a create begins with in its workspace, as it is asked for and as it is shown."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, model_validator

from jelmore.api.fields import Body, storable
from jelmore.control.pushes import WantedPush
from jelmore.control.requests import WantedRepository
from jelmore_protocol.gateway import CREDENTIAL_NAME
from jelmore_protocol.setup import SetupScript

MAX_DEPTH: Final = 1_000_000
_URL: Final = r"^https?://[^\s?#@]+$"


class RepositoryBody(Body):
    """A git repository to start from. It is fetched outside of the sandbox before the session starts."""

    url: Annotated[str, AfterValidator(storable)] = Field(
        max_length=2000, pattern=_URL, examples=["https://git.example.com/team/project.git"]
    )
    ref: Annotated[str, AfterValidator(storable)] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="A branch, a tag or a whole commit id. Unset: the default branch.",
    )
    depth: int | None = Field(
        default=None, ge=1, le=MAX_DEPTH, description="Fetch only this many commits of history. Unset: all."
    )
    credential: str | None = Field(
        default=None,
        pattern=rf"^{CREDENTIAL_NAME}$",
        description="The name of a credential. A `git` route with it must lead to the URL. The session never gets it.",
    )

    def wanted(self) -> WantedRepository:
        """Convert the body to a `WantedRepository`."""
        return WantedRepository(self.url, self.ref or "", self.depth or 0, self.credential or "")


def _storable_setup(setup: SetupScript) -> SetupScript:
    storable(setup.run or setup.file or "")
    return setup


class StartingFiles(Body):
    """What is in the workspace when the session begins: files from elsewhere, and what its setup makes of them."""

    repository: RepositoryBody | None = None
    base: Annotated[UUID, Field(strict=False)] | None = Field(
        default=None,
        description="A session: begin with a copy of its workspace, as it is now. Not together with `repository`.",
    )

    setup: Annotated[SetupScript, AfterValidator(_storable_setup)] | None = Field(
        default=None,
        description="Runs once in the sandbox, as the agent's user, before the first turn: `run` is a command or a "
        "script for bash, `file` a script in the workspace. When it fails, an `error` (`setup_failed`) says so, and "
        "the session continues.",
    )

    def setup_option(self) -> dict[str, Any]:
        """Return the setup as it is stored among the options; empty without one."""
        return {} if self.setup is None else {"setup": self.setup.model_dump(mode="json", exclude_none=True)}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.base is not None and self.repository is not None:
            raise ValueError("give base or repository, not both")
        return self


class PushBody(Body):
    """A branch to push the workspace's commits to."""

    branch: Annotated[str, AfterValidator(storable)] = Field(
        min_length=1, max_length=256, examples=["jelmore/fix-the-parser"]
    )
    credential: str | None = Field(
        default=None,
        pattern=rf"^{CREDENTIAL_NAME}$",
        description="The name of a credential. A `git` route with it must lead to the URL. The session never gets it.",
    )
    url: Annotated[str, AfterValidator(storable)] | None = Field(
        default=None,
        max_length=2000,
        pattern=_URL,
        description="Unset: the session's own `repository.url`. Another one must be below a `git` route.",
    )

    def wanted(self) -> WantedPush:
        """Convert the body to a `WantedPush`."""
        return WantedPush(self.branch, self.credential or "", self.url or "")


class PushResponse(BaseModel):
    """A branch that holds the workspace's commits."""

    url: str
    branch: str
    commit: str = Field(description="The commit of the branch: HEAD of the workspace.")
    pushed: bool = Field(description="False when the branch had this commit already.")


class RepositoryResponse(BaseModel):
    """The repository that a session started from."""

    url: str
    ref: str | None = None
    branch: str | None = Field(default=None, description="The branch that was checked out; null for a tag or a commit.")
    commit: str = Field(description="The commit that the session started from: `against=start` compares with it.")


class ForkedFromResponse(BaseModel):
    """The session that a session was forked from."""

    session_id: str
    seq: int = Field(description="The turns that had ended at this output were kept.")
    workspace: str = Field(
        default="present",
        description=(
            "`snapshot`: the files are those of before the next turn of that session. `present`: those of when the "
            "fork was made, because no turn had started since `seq`, none was asked for, or there was no snapshot."
        ),
    )


def repository_shown(stored: Mapping[str, Any]) -> RepositoryResponse | None:
    """Return how the stored repository of a session is shown; None without one."""
    return RepositoryResponse.model_validate(dict(stored)) if stored else None
