"""The calls of older clients, as those clients send them: their paths, bodies, headers and statuses."""

import json
import subprocess
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.integration.whole.conftest import LocalStack

pytestmark = pytest.mark.integration


def curl(running: LocalStack, *arguments: str) -> tuple[int, Any, dict[str, str]]:
    """Return status, body and headers of a call as `curl` makes it."""
    command = ["curl", "-sS", "-i", "-m", "60", "-H", f"X-API-Key: {running.api_key}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *rest = head.splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return int(first.split()[1]), json.loads(body) if body.strip() else None, headers


def test_the_singular_paths(running: LocalStack) -> None:
    base = f"{running.url}/api/v1/session"
    status, made, _ = curl(running, base, "-H", "Content-Type: application/json", "-d", '{"query": "demo> say one"}')
    assert status == 200
    assert made["session_id"] == made["id"]
    status, sent, _ = curl(
        running,
        f"{base}/{made['id']}/input",
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"input": "demo> say two"}',
    )
    assert (status, sent["session_id"]) == (200, made["id"])
    status, shown, _ = curl(running, f"{base}/{made['id']}")
    assert (status, shown["query"]) == (200, "demo> say one")
    assert curl(running, "-X", "DELETE", f"{base}/{made['id']}")[0] == 200
    status, problem, _ = curl(
        running, f"{base}/{made['id']}/input", "-H", "Content-Type: application/json", "-d", '{"input": "x"}'
    )
    assert (status, problem["code"]) == (400, "session_ended")


@pytest.mark.parametrize("prefix", ["/api/v1/sessions", "/api/v1/session", "/api/sessions"])
def test_curl_without_a_content_type(running: LocalStack, prefix: str) -> None:
    """`curl -d` declares a form; what it sends is JSON all the same."""
    status, made, _ = curl(running, f"{running.url}{prefix}", "-d", '{"query": "demo> say hi"}')
    assert status in {200, 201}, made
    status, _, _ = curl(running, f"{running.url}{prefix}/{made['id']}/input", "-d", '{"input": "demo> say more"}')
    assert status in {200, 202}
    assert curl(running, "-X", "DELETE", f"{running.url}{prefix}/{made['id']}")[0] == 200


def test_a_form_that_is_no_json_is_refused_by_name(running: LocalStack) -> None:
    status, problem, _ = curl(running, f"{running.url}/api/v1/sessions", "-d", "query=hello")
    assert (status, problem["code"]) == (415, "unsupported_media_type")


def test_the_first_frames_of_a_websocket(running: LocalStack) -> None:
    _, made, _ = curl(running, f"{running.url}/api/v1/sessions", "-d", '{"query": "demo> say hello"}')
    with connect(made["urls"]["ws"], additional_headers={"Authorization": f"Bearer {made['token']}"}) as socket:
        hello = json.loads(socket.recv(timeout=20))
        assert (hello["type"], hello["session_id"]) == ("hello", made["id"])
        socket.send(json.dumps({"type": "ping"}))
        types = {"hello"}
        while "pong" not in types:
            types.add(json.loads(socket.recv(timeout=20))["type"])
    curl(running, "-X", "DELETE", f"{running.url}/api/v1/sessions/{made['id']}")


def test_a_web_page_of_another_origin(running: LocalStack) -> None:
    url, origin = f"{running.url}/api/v1/sessions", {"Origin": "https://app.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key,content-type"}
    preflight = httpx.options(url, headers={**origin, **asked})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
    with running.client() as http:
        assert http.get(url, headers=origin).headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-origin" not in http.get(url, headers={"Origin": "https://x.example"}).headers
