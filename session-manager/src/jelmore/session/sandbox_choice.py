"""What the operator chose for the sandboxes of a profile: an image, and a folder of skills."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jelmore.session.errors import InvalidRequestError

_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """An empty part is as for all sessions. Nothing here comes from a request."""

    image: str = ""  # its name at the engine, looked up at each start
    skills_dir: str = ""  # the name of a folder below JELMORE_PROFILE_SKILLS_DIR

    def snapshot(self) -> dict[str, str]:
        """Return the parts that are chosen, as JSON values."""
        parts = {"image": self.image, "skills_dir": self.skills_dir}
        return {name: value for name, value in parts.items() if value}


AS_ALL: Final = SandboxChoice()


def read_choice(table: Mapping[str, Any]) -> SandboxChoice:
    """Return the choice in a profile's table. Raises InvalidRequestError that names the part."""
    for name, form in (("image", _IMAGE), ("skills_dir", _FOLDER)):
        value = table.get(name, "")
        if value != "" and not (isinstance(value, str) and form.fullmatch(value)):
            raise InvalidRequestError(
                f"{name}: {value!r} is no name of {'an image' if name == 'image' else 'a folder'}"
            )
    return SandboxChoice(table.get("image", ""), table.get("skills_dir", ""))


def choice_of(bounds: Mapping[str, Any]) -> SandboxChoice:
    """Return the choice in what a session keeps of its profile. Unknown parts are ignored."""
    kept = bounds.get("sandbox") or {}
    return SandboxChoice(str(kept.get("image", "")), str(kept.get("skills_dir", "")))
