"""What the manager needs of an image of sandboxes, as its labels say."""

from collections.abc import Mapping
from typing import Any, Final

from jelmore.drivers.docker_config import ContainerOptions
from jelmore.session.errors import RefusedError

AGENT_USERS: Final = "jelmore.agent-users"
"""Label of images whose agent gets the user that the manager proposes. `runner-image/Dockerfile` sets it; images that
are made from that one have it too."""


def check_image(inspected: Mapping[str, Any], name: str, options: ContainerOptions) -> None:
    """Raise RefusedError for an image that would give the agents of all sessions one user, against the settings."""
    labels = (inspected.get("Config") or {}).get("Labels") or {}
    if options.agent_uids is not None and labels.get(AGENT_USERS) != "1":
        raise RefusedError(
            "docker",
            f"the image {name} is of a version of Jelmore that starts every agent as the same user: build it again "
            "(scripts/runner-image, then images that are made from that one), or set JELMORE_AGENT_UIDS=off",
        )
