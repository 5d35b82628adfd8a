"""What the engine shows of the containers of an installation: each credential is in those that need it only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.test_isolation import found_inside
from tests.support.planted import outside, plant
from tests.support.stack import Stack, docker, docker_lines, inspect
from tests.support.stack_compose import Compose
from tests.support.stack_fixtures import BUILD_S, running
from tests.support.stack_quickstart import QuickStart

STORES: Final = {"postgres", "redis", "nats", "session-manager", "migrate"}


@pytest.fixture(params=["quickstart", "compose"])
def address(request: pytest.FixtureRequest) -> str:
    """Where the gateway of each way to run Jelmore finds a server of this test."""
    if request.param == "quickstart":
        return "127.0.0.1"
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()


@pytest.fixture
def planted_stack(runner_image: None, address: str) -> Iterator[Stack]:
    """An installation of its own whose webhooks may call this machine."""
    settings = {"JELMORE_WEBHOOK_PRIVATE_HOSTS": address, "JELMORE_LOG_LEVEL": "debug", "JELMORE_MAX_SESSIONS": "3"}
    local = address == "127.0.0.1"
    yield from running(QuickStart(own_model=False, **settings) if local else Compose(**settings))


def of_installation(stack: Stack) -> dict[str, str]:
    """Return the containers of an installation by the names of their services; those of sessions have their ids."""
    found = {container: container for container in stack.containers()}
    if isinstance(stack, Compose):
        label = f"label=com.docker.compose.project={stack.project}"
        for container in docker_lines("ps", "--all", "--quiet", "--filter", label):
            labels = inspect(container)["Config"]["Labels"]
            if "com.docker.compose.config-hash" in labels:
                found[labels["com.docker.compose.service"]] = container
    return found


@pytest.mark.timeout(BUILD_S)
def test_what_the_engine_shows_of_containers(planted_stack: Stack, address: str) -> None:
    stack = planted_stack
    with (
        outside(address) as servers,
        httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.api_key}, timeout=90, trust_env=False) as http,
    ):
        id_ = plant(http, servers)
        token = http.post(f"/api/v1/sessions/{id_}/token", json={"scopes": ["read"]}).json()["token"]
        session = stack.container(id_)
        may_show = {
            stack.credential: {"gateway"},
            stack.api_key: {"session-manager", "migrate"},
            **{text: set() for text in (*servers.all(), token)},
        }
        if isinstance(stack, Compose):
            may_show[stack.password] = STORES

        containers = of_installation(stack)
        assert session[:12] in {each[:12] for each in containers.values()}
        shown = {name: docker("inspect", container) for name, container in containers.items()}
        logs = {name: docker("logs", container) for name, container in containers.items()}
        assert id_ in shown[next(name for name, each in containers.items() if each[:12] == session[:12])]
        for text, allowed in may_show.items():
            places = {name for name, inspected in shown.items() if text in inspected}
            assert places <= allowed, text
            assert not [name for name, printed in logs.items() if text in printed], text
            assert found_inside(session, text) == [], text
        if isinstance(stack, Compose):  # the search sees what is there
            assert stack.credential in shown["gateway"]
            assert stack.password in shown["postgres"]
            services = {
                name: inspect(each)["HostConfig"]["Ulimits"] for name, each in containers.items() if name in STORES
            }
            assert services == {name: [{"Name": "core", "Hard": 0, "Soft": 0}] for name in services}
            assert set(services) >= STORES - {"migrate"}
        for service in ("gateway", "manager"):
            limits = Path(f"/proc/{stack.pid(service)}/limits").read_text()
            assert "Max core file size        0                    0 " in limits, service
        http.delete(f"/api/v1/sessions/{id_}")
