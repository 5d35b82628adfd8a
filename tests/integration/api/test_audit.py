"""Every operation that may change something leaves a line in the audit log, also what is done over a WebSocket."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from jelmore.ports import Role
from tests.integration.api.test_socket import bearer, frames, new_session
from tests.integration.api.test_terminal import opened
from tests.integration.api.test_unknown_parameters import NAME, OPEN_ENDED, urls_of
from tests.integration.api.world import World, world
from tests.support.waiting import until

pytestmark = pytest.mark.integration

AUDIT, SESSIONS = "/api/v1/admin/audit", "/api/v1/sessions"
WITHOUT_A_CALLER = {
    "logout": "removes cookies of the browser and nothing here",
    "accept_invite": "a wrong invite is nobody's; who accepts one leaves a line (below)",
    "open_invite": "the same",
}


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


async def lines(http: httpx.AsyncClient, **filters: Any) -> list[tuple[str, str, str]]:
    found = (await http.get(AUDIT, params=filters)).json()
    return [(each["action"], each["outcome"], each["target"]) for each in found]


async def test_every_operation_that_may_change_something_leaves_a_line(api: World) -> None:
    asked = set[str]()
    async with api.client() as http:
        described = (await http.get("/openapi.json")).json()["paths"]
        for path, operations in described.items():
            for method in operations.keys() & {"post", "put", "patch", "delete"}:
                # Refused for its parameter, so that it changes nothing: the line is written all the same.
                await http.request(method.upper(), f"{urls_of(path)[0]}?{NAME}=1")
                asked.add(operations[method]["operationId"])
        noted = {action for action, _, _ in await lines(http, limit=10_000)}
    assert len(asked) > 50, "the description has lost its operations"
    assert asked - noted - OPEN_ENDED == set(WITHOUT_A_CALLER)
    assert noted <= asked, "an action is an operation id"


async def test_who_accepts_an_invite_leaves_a_line(api: World) -> None:
    async with api.client() as http, api.client("") as guest:
        session_id = (await http.post(SESSIONS)).json()["id"]
        invite = (await http.post(f"{SESSIONS}/{session_id}/invites", json={"role": "viewer"})).json()["invite"]
        joined = (await guest.post("/api/v1/invites/accept", json={"invite": invite, "name": "Ann"})).json()
        person = joined["participant"]["id"]
        assert await lines(http, actor=person) == [("accept_invite", "201", "/api/v1/invites/accept")]


async def test_acts_over_a_websocket_leave_lines(api: World) -> None:
    session_id, token = await new_session(api)
    path = f"{SESSIONS}/{session_id}"
    async with api.client() as http:
        before = (await http.get(AUDIT)).json()[-1]["id"]
        async with api.connect(f"{path}/stream", **bearer(token)) as connection:
            for frame in (
                {"type": "input", "input": "hello", "id": "i1"},
                {"type": "change_input", "input_id": "gone", "input": "x", "id": "c"},
                {"type": "cancel_input", "input_id": "gone", "id": "d"},
                {"type": "interrupt", "id": "x"},
                {"type": "permission", "request_id": "r9", "decision": "allow", "id": "a"},
            ):
                await connection.send(json.dumps(frame))
            await frames(connection, "error")
        async with api.connect(f"{path}/terminal", **bearer(token)) as connection:
            assert (await opened(connection))["type"] == "opened"
        with pytest.raises(InvalidStatus):
            async with api.connect(f"{path}/ports/1", additional_headers={"X-API-Key": api.keys[Role.ADMIN]}):
                pass
        found: list[tuple[str, str, str]] = []

        async def all_noted() -> bool:
            found[:] = await lines(http, after=before)
            return len(found) == 7

        await until(all_noted)
        assert [(action, target) for action, _, target in found] == [
            ("send_input", f"{path}/stream"),
            ("change_queued_input", f"{path}/stream"),
            ("cancel_queued_input", f"{path}/stream"),
            ("interrupt", f"{path}/stream"),
            ("answer_permission", f"{path}/stream"),
            ("get_terminal", f"{path}/terminal"),
            ("get_port", f"{path}/ports/1"),
        ]
        outcomes = [outcome for _, outcome, _ in found]
        assert outcomes[0] == outcomes[3] == outcomes[5] == "accepted"
        assert not {"accepted", ""} & {outcomes[1], outcomes[2], outcomes[4], outcomes[6]}
