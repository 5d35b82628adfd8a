"""The setup of a session: what runs once in its sandbox, as the agent's user, before the first turn."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jelmore_protocol.options import VolumePath

MAX_SCRIPT_CHARACTERS: Final = 16_384
FEATURE: Final = "setup"
"""What `Init.requires` names when the session has a setup: a runner that does not know it must not begin without."""

Script = Annotated[str, Field(min_length=1, max_length=MAX_SCRIPT_CHARACTERS, pattern=r"^[^\x00]*\S[^\x00]*$")]


class SetupOutcome(StrEnum):
    """How a setup ended."""

    COMPLETED = "completed"  # exit code 0
    FAILED = "failed"  # another exit code, a signal, or it could not be started
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"  # by a person, a stop of the session, or an end of its runner
    SKIPPED = "skipped"  # the workspace does not have the file


class SetupScript(BaseModel):
    """A shell command or script, or the path of a script in the workspace: one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    run: Script | None = Field(default=None, description="A command or a script for bash, run in the workspace.")
    file: VolumePath | None = Field(
        default=None,
        description="A script in the workspace, such as `.jelmore/setup.sh`; a session without it has no setup.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.run is None) == (self.file is None):
            raise ValueError("give run or file, one of them")
        return self


class SetupOrder(BaseModel):
    """A setup as the runner gets it. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    run: str | None = None
    file: VolumePath | None = None
    within_s: float = Field(gt=0)  # after which it is ended
