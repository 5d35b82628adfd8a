"""The deployment's manager reaches its engine through the proxy only, and gets no more than sandboxes of its own."""

import json
from typing import Final

from tests.support.stack import Stack, docker
from tests.support.stack_client import Api
from tests.support.stack_compose import Compose

CALL: Final = """
import http.client, json, socket, sys
class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/jelmore-engine/docker.sock")
engine = Engine("engine", timeout=20)
method, target, body = json.loads(sys.argv[1])
headers = {"Content-Type": "application/json"}
engine.request(method, target, None if body is None else json.dumps(body), headers)
answer = engine.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""


def called(manager: str, method: str, target: str, body: object = None) -> tuple[int, str]:
    """Return status and body of a call from inside of the manager's container, as the manager's user."""
    asked = json.dumps([method, target, body])
    status, text = json.loads(docker("exec", manager, "as-jelmore", "python", "-c", CALL, asked))
    return status, text


async def test_the_manager_of_a_deployment_has_the_proxy_and_not_the_engine(compose: Stack) -> None:
    assert isinstance(compose, Compose)
    manager = compose.service("manager")
    assert not any("docker.sock" in json.dumps(mount) for mount in manager["Mounts"])
    assert "DOCKER_HOST=unix:///run/jelmore-engine/docker.sock" in manager["Config"]["Env"]

    api = Api(compose)
    created = await api.create()
    assert (await api.ask(created["id"], "demo> say through the proxy"))["result"] == "[demo model] through the proxy"
    health = (await api.http.get("/health")).json()
    assert health["status"] == "ok", health

    inside = manager["Id"]
    for target in (f"/containers/{inside}/exec", "/build", "/images/create?fromImage=debian", "/networks/create"):
        assert called(inside, "POST", f"/v1.41{target}", {})[0] == 403
    body = {"Image": "jelmore/session-manager:latest", "HostConfig": {"Privileged": True, "Binds": ["/:/host"]}}
    name = f"jelmore-{created['id']}-9"
    assert called(inside, "POST", f"/v1.41/containers/create?name={name}", body)[0] == 403
    for service in ("postgres", "engine-proxy"):
        status, text = called(inside, "DELETE", f"/v1.41/containers/{compose.service(service)['Id']}?force=1")
        assert (status, "not of the installation" in text) == (403, True)
        assert compose.service(service)["State"]["Running"]
    assert "engine proxy: " in called(inside, "GET", "/v1.41/containers/json")[1]
    assert '"method": "POST"' in docker("logs", compose.service("engine-proxy")["Id"])
    await api.delete(created["id"])
    await api.http.aclose()
