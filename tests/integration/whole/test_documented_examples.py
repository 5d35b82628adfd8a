"""The examples of the API's description, sent as they are to a running installation."""

from typing import Any, Final

import pytest

from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ELSEWHERE: Final = {
    "accept_invite": {401, 404},
    "answer_permission": {404},
    "change_mcp_server": {404, 409},
    "begin_authorization": {404},
    "change_queued_input": {404, 409},
    "commit_workspace": {409},
    "create_port_link": {404, 409},
    "finish_authorization": {404},
    "open_invite": {403},
    "push_workspace": {409},
    "rewind_session": {422},
    "subscribe_browser": {404, 409},
}
"""What is asked for with something that this installation does not have. The body is accepted all the same."""

FIRST: Final = ("create_session", "create_key", "create_webhook", "send_input")


def test_every_json_body_has_an_example_that_is_accepted(running: LocalStack) -> None:
    with running.client() as http:
        paths = http.get("/openapi.json").json()["paths"]
        bodies: dict[str, tuple[str, str, dict[str, Any]]] = {
            operation["operationId"]: (method, path, operation["requestBody"]["content"]["application/json"])
            for path, methods in paths.items()
            for method, operation in methods.items()
            if "application/json" in operation.get("requestBody", {}).get("content", {})
        }
        assert len(bodies) > 25
        assert [name for name, (_, _, body) in bodies.items() if "example" not in body] == []
        refused: dict[str, str] = {}
        ids = {"kind": "mcp", "name": "github", "port": "8000", "request_id": "absent", "input_id": "absent"}
        for name in (*FIRST, *sorted(set(bodies) - set(FIRST))):
            method, path, body = bodies[name]
            answer = http.request(method, path.format_map(ids), json=body["example"])
            if not (answer.is_success or answer.status_code in ELSEWHERE.get(name, ())):
                refused[name] = answer.text
            if name.startswith("create_") and "id" in answer.json():
                ids[f"{name.removeprefix('create_')}_id"] = answer.json()["id"]
        assert refused == {}
