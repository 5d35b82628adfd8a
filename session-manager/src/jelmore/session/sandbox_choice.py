"""What the operator chose for the sandboxes of a profile: an image, a folder of skills, a runtime."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jelmore.session.errors import InvalidRequestError

_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RUNTIME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_FORMS: Final = {
    "image": (_IMAGE, "an image"),
    "skills_dir": (_FOLDER, "a folder"),
    "runtime": (_RUNTIME, "a runtime of the engine"),
}


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """An empty part is as for all sessions. Nothing here comes from a request."""

    image: str = ""  # its name at the engine, looked up at each start
    skills_dir: str = ""  # the name of a folder below JELMORE_PROFILE_SKILLS_DIR
    runtime: str = ""  # its name at the engine; `runc` is the engine's default

    def snapshot(self) -> dict[str, str]:
        """Return the parts that are chosen, as JSON values."""
        parts = {"image": self.image, "skills_dir": self.skills_dir, "runtime": self.runtime}
        return {name: value for name, value in parts.items() if value}


AS_ALL: Final = SandboxChoice()


def read_choice(table: Mapping[str, Any]) -> SandboxChoice:
    """Return the choice in a profile's table. Raises InvalidRequestError that names the part."""
    for name, (form, what) in _FORMS.items():
        value = table.get(name, "")
        if value != "" and not (isinstance(value, str) and form.fullmatch(value)):
            raise InvalidRequestError(f"{name}: {value!r} is no name of {what}")
    return SandboxChoice(**{name: table.get(name, "") for name in _FORMS})


def choice_of(bounds: Mapping[str, Any]) -> SandboxChoice:
    """Return the choice in what a session keeps of its profile. Unknown parts are ignored."""
    kept = bounds.get("sandbox") or {}
    return SandboxChoice(**{name: str(kept.get(name, "")) for name in _FORMS})
