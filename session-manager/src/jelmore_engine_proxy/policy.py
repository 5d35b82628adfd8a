"""What this installation may ask of its engine, and the result of a decision."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

UUID_TEXT: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
VOLUME_NAME: Final = re.compile(f"jelmore-({UUID_TEXT})")
CONTAINER_NAME: Final = re.compile(rf"jelmore-({UUID_TEXT})-[a-z0-9-]{{1,40}}")

SESSION: Final = "jelmore.session"
INSTANCE: Final = "jelmore.instance"
GENERATION: Final = "jelmore.generation"
KEY: Final = "jelmore.sandbox"
READER: Final = "jelmore.reader"
AHEAD: Final = "jelmore.pool"
REPLACEMENT: Final = "jelmore.replacement"

NEVER_STARTED: Final = "1"
"""Value of the reader label of a container that is created only to read or restore a volume."""

NOT_A_RUNTIME: Final = "neither JELMORE_OCI_RUNTIME nor the runtime of a profile in JELMORE_PROFILES"
NOT_AN_IMAGE: Final = "neither JELMORE_RUNNER_IMAGE nor the image of a profile in JELMORE_PROFILES"

APPARMOR_PROFILE: Final = "jelmore-sandbox"


class RefusedError(Exception):
    """The call is not allowed. The message says why, and goes to the caller."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The values that calls are compared with.

    `seccomp` is the security option with Jelmore's list of system calls; `require_seccomp` says whether a sandbox must
    have it. `skills` is the deployment's folder of skills, and `profile_skills` the folder with those of profiles.
    """

    instance: str
    run_dir: Path
    images: frozenset[str]
    seccomp: str
    require_seccomp: bool = True
    require_apparmor: bool = False
    runtimes: frozenset[str] = field(default_factory=lambda: frozenset({"runc"}))
    skills: Path | None = None
    profile_skills: Path | None = None
