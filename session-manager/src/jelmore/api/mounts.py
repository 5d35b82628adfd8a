"""The three places under which the session calls are served, and how they differ."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request


@dataclass(frozen=True, slots=True)
class Mount:
    """One of them. The first is the one that is documented; the others serve older clients."""

    prefix: str
    create_status: int = 201
    ended_status: int = 409  # of an input to an ended session
    input_status: int = 202  # of an input that is accepted
    timeout_s: float | None = None  # of a session created without one; None is the deployment's


MOUNTS: Final = (
    Mount("/api/v1/sessions"),
    Mount("/api/v1/session", create_status=200, ended_status=400, input_status=200),
    Mount("/api/sessions", timeout_s=3600),
)


def mount_of(path: str) -> Mount:
    """Return the mount that serves `path`."""
    for mount in MOUNTS:
        if path == mount.prefix or path.startswith(mount.prefix + "/"):
            return mount
    raise LookupError(path)


async def _mount(request: Request) -> Mount:
    return mount_of(request.url.path)


MountOf = Annotated[Mount, Depends(_mount)]
