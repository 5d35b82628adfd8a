"""What sandboxes are asked for in these tests, and what is seen of them."""

from uuid import uuid4

from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.ports import SandboxSpec
from jelmore.session.limits import MEBIBYTE, Limits
from jelmore.session.world import Sandbox

LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpus=1.5, pids=200)


def new_spec() -> SandboxSpec:
    return SandboxSpec(uuid4(), 1, LIMITS)


async def observed(sandboxes: DockerSandboxes, spec: SandboxSpec) -> Sandbox:
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    return sandbox
