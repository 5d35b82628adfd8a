"""The three path prefixes of the session endpoints, and how their responses differ."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request


@dataclass(frozen=True, slots=True)
class Mount:
    """A path prefix. The first mount is the documented one; the others serve older clients."""

    prefix: str
    create_status: int = 201
    ended_status: int = 409  # of the response to an input to an ended session
    input_status: int = 202  # of the response to an accepted input
    timeout_s: float | None = None  # default of created sessions; None means the deployment's default


MOUNTS: Final = (
    Mount("/api/v1/sessions"),
    Mount("/api/v1/session", create_status=200, ended_status=400, input_status=200),
    Mount("/api/sessions", timeout_s=3600),
)


def mount_of(path: str) -> Mount:
    """Return the mount that serves `path`. Raises LookupError."""
    for mount in MOUNTS:
        if path == mount.prefix or path.startswith(mount.prefix + "/"):
            return mount
    raise LookupError(path)


async def _mount(request: Request) -> Mount:
    return mount_of(request.url.path)


MountOf = Annotated[Mount, Depends(_mount)]
