"""Fixtures of whole stacks: each started once, and its slots free at the start of every test."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
import pytest_asyncio

from tests.support.stack import ROOT, Stack
from tests.support.stack_client import Api
from tests.support.stack_compose import Compose
from tests.support.stack_quickstart import QuickStart

BUILD_S: Final = 1200


def running(stack: Stack) -> Iterator[Stack]:
    """Start a stack, and afterwards stop it and see that nothing is left."""
    try:
        stack.start()
        yield stack
        stack.stop()
        assert stack.remains() == []
    finally:
        try:
            stack.stop()
        finally:
            stack.discard()


def make_runner_image() -> None:
    """Build the image of session containers, unless another one is tried or `scripts/test-gvisor` has put it there."""
    if "TEST_ENGINE_HAS_IMAGE" in os.environ or "TEST_RUNNER_IMAGE" in os.environ:
        return
    subprocess.run(["scripts/runner-image"], cwd=ROOT, check=True, timeout=BUILD_S)


@pytest.fixture(scope="session")
def runner_image() -> None:
    """The image of session containers, from the sources as they are."""
    make_runner_image()


@pytest.fixture(scope="session")
def quickstart(runner_image: None) -> Iterator[Stack]:
    """The shared quick start, with three slots."""
    hosts = "127.9.9.9/32"
    yield from running(
        QuickStart(
            JELMORE_MAX_SESSIONS="3",
            JELMORE_EGRESS_ALLOWED_NETWORKS=hosts,
            JELMORE_EGRESS_ASK_S="15",
            JELMORE_WEBHOOK_PRIVATE_HOSTS="127.0.0.1",
        )
    )


@pytest.fixture(scope="session")
def local_quickstart() -> Iterator[Stack]:
    """A quick start whose sessions are processes: for what does not depend on how they are isolated."""
    yield from running(
        QuickStart(
            JELMORE_RUNTIME="local",
            JELMORE_MAX_SESSIONS="8",
            JELMORE_WEB_PUSH_CONTACT="mailto:ops@example.org",
            JELMORE_WEBHOOK_PRIVATE_HOSTS="127.0.0.1",
        )
    )


@pytest.fixture(scope="session")
def compose(runner_image: None) -> Iterator[Stack]:
    """The shared deployment."""
    yield from running(Compose())


@pytest.fixture(scope="session", params=["quickstart", "compose"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Each way to run Jelmore in turn."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest_asyncio.fixture
async def api(stack: Stack) -> AsyncIterator[Api]:
    """Calls to the stack; its sessions end with the test."""
    calls = Api(stack)
    yield calls
    await calls.close()


@pytest_asyncio.fixture
async def quick_api(quickstart: Stack) -> AsyncIterator[Api]:
    """Calls to the shared quick start; its sessions end with the test."""
    calls = Api(quickstart)
    yield calls
    await calls.close()


@pytest_asyncio.fixture
async def local_api(local_quickstart: Stack) -> AsyncIterator[Api]:
    """Calls to the shared local quick start; its sessions end with the test."""
    calls = Api(local_quickstart)
    yield calls
    await calls.close()
