"""The repository of a create, as it is asked for and as it is shown."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, Field

from jelmore.api.fields import Body, storable
from jelmore.control.requests import WantedRepository
from jelmore_protocol.gateway import CREDENTIAL_NAME

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


class RepositoryShown(BaseModel):
    """The repository that a session started from."""

    url: str
    ref: str | None = None
    branch: str | None = Field(default=None, description="The branch that was checked out; null for a tag or a commit.")
    commit: str = Field(description="The commit that the session started from: `against=start` compares with it.")


def repository_shown(stored: Mapping[str, Any]) -> RepositoryShown | None:
    """Return how the stored repository of a session is shown; None without one."""
    return RepositoryShown.model_validate(dict(stored)) if stored else None
