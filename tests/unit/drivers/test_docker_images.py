"""Which images sandboxes are started from."""

from typing import Any

import pytest

from jelmore.drivers.docker_config import ContainerOptions
from jelmore.drivers.docker_images import AGENT_USERS, check_image
from jelmore.session.errors import RefusedError


@pytest.mark.parametrize(
    "config", [{}, {"Config": None}, {"Config": {"Labels": None}}, {"Config": {"Labels": {"a": "1"}}}]
)
def test_an_image_that_knows_no_users_of_agents_is_refused_by_name(config: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"the image team/runner:1 is of a version .* set JELMORE_AGENT_UIDS=off"):
        check_image(config, "team/runner:1", ContainerOptions())
    check_image(config, "team/runner:1", ContainerOptions(agent_uids=None))


def test_an_image_that_is_made_from_ours_is_taken() -> None:
    check_image({"Config": {"Labels": {AGENT_USERS: "1", "maintainer": "team"}}}, "team/runner:2", ContainerOptions())
