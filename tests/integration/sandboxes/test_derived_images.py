"""Images that are made from the runner's, and an image that changes while a session lives."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from jelmore.drivers.docker_config import container_name
from jelmore.drivers.docker_engine import DockerEngine
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import SandboxSpec
from jelmore.session.errors import DependencyError
from jelmore.session.world import SandboxState
from jelmore_protocol.control import Phase
from tests.integration.sandboxes.conftest import IMAGE, MakeSandboxes
from tests.integration.sandboxes.specs import new_spec, observed
from tests.support.stack import as_agent, docker
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.docker]

type Derive = Callable[[Mapping[str, Any]], Awaitable[str]]


@pytest.fixture
async def derived(engine: DockerEngine) -> AsyncIterator[Derive]:
    """Make an image from the runner's with changes of its configuration, under one name. Name it before `make`."""
    tag = uuid4().hex

    async def build(changes: Mapping[str, Any]) -> str:
        made = await engine.call("POST", "containers/create", body={"Image": IMAGE})
        params = {"container": made["Id"], "repo": "jelmore-test", "tag": tag}
        await engine.call("POST", "commit", params=params, body=changes)
        await engine.call("DELETE", f"containers/{made['Id']}", params={"force": True, "v": True})
        return f"jelmore-test:{tag}"

    yield build
    await engine.call("DELETE", f"images/jelmore-test:{tag}", params={"force": True})


async def answers(make: MakeSandboxes, image: str, spec: SandboxSpec) -> None:
    """Start a session and return once its runner answers."""
    sandboxes, runners = make(image=image), RunnerLink()
    await sandboxes.start(spec)

    async def dormant() -> bool:
        at = (await observed(sandboxes, spec)).control
        assert at is not None
        with suppress(DependencyError):
            return (await runners.health(at)).phase is Phase.DORMANT
        return False

    await until(dormant, seconds=30)


@pytest.mark.parametrize("user", ["agent", "1000", "nobody"])
async def test_an_image_that_ends_with_another_user_starts_like_ours(
    derived: Derive, make: MakeSandboxes, user: str
) -> None:
    image = await derived({"User": user})
    assert docker("image", "inspect", "--format", "{{.Config.User}}", image).strip() == user
    spec = new_spec()
    await answers(make, image, spec)
    name = container_name(spec.session_id, 1)
    assert "10001" in docker("top", name, "-eo", "pid,uid"), "the runner is a user of its own"
    assert as_agent(name, "id", "-un").strip() == "agent"


async def test_a_session_keeps_its_image_until_its_next_start(derived: Derive, make: MakeSandboxes) -> None:
    image = await derived({"Env": ["MADE=first"]})
    spec = new_spec()
    await answers(make, image, spec)
    first, name = docker("image", "inspect", "--format", "{{.Id}}", image).strip(), container_name(spec.session_id, 1)
    as_agent(name, "sh", "-c", "echo kept >/session/workspace/file")

    assert await derived({"Env": ["MADE=second"]}) == image
    second = docker("image", "inspect", "--format", "{{.Id}}", image).strip()
    assert first != second
    assert docker("inspect", "--format", "{{.Image}}", name).strip() == first, "a running session is left alone"
    assert (await observed(make(image=image), spec)).state is SandboxState.RUNNING

    await answers(make, image, replace(spec, generation=2))
    name = container_name(spec.session_id, 2)
    assert docker("inspect", "--format", "{{.Image}}", name).strip() == second
    assert as_agent(name, "sh", "-c", "cat /session/workspace/file; echo $MADE").split() == ["kept", "second"]
    docker("image", "rm", "--force", first)
