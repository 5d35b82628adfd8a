"""The folder of skills of a session's sandbox: that of its profile, else that of the deployment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jelmore.session.errors import RefusedError
from jelmore.session.sandbox_choice import SandboxChoice


@dataclass(frozen=True, slots=True)
class SkillFolders:
    """The settings JELMORE_SKILLS_DIR and JELMORE_PROFILE_SKILLS_DIR."""

    deployment: Path | None = None
    profiles: Path | None = None

    def of(self, choice: SandboxChoice) -> Path | None:
        """Return the folder, None without one. Raises RefusedError when a profile's cannot be known."""
        if not choice.skills_dir:
            return self.deployment
        if self.profiles is None:
            wanted = f"a profile wants {choice.skills_dir!r}"
            raise RefusedError("skills", f"{wanted}, but JELMORE_PROFILE_SKILLS_DIR is not set")
        return self.profiles / choice.skills_dir


NO_SKILLS: Final = SkillFolders()
