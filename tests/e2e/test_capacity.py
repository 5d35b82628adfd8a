"""Many at once: as many sessions as there are slots, a clear refusal for the rest, and never two for one request."""

import asyncio

from tests.support.stack import Stack
from tests.support.stack_client import SESSIONS, Api, eventually, talk_to


async def test_twenty_at_once_fill_three_slots(quick_api: Api, quickstart: Stack) -> None:
    answers = await asyncio.gather(*(quick_api.http.post(SESSIONS, json={}) for _ in range(20)))
    made = [answer.json() for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert (len(made), len(refused)) == (3, 17)
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (429, "capacity"), answer.text
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["retryable"] is True
    assert len({created["id"] for created in made}) == 3
    assert sorted(await quick_api.live()) == sorted(created["id"] for created in made)
    assert len(quickstart.containers()) == 3
    for created in made:
        async with talk_to(created) as talk:
            await talk.frame(lambda frame: frame["type"] == "hello")
    await quick_api.delete(made[0]["id"])
    assert (await quick_api.http.get(f"{SESSIONS}/stats")).json()["slots"]["used"] == 2
    await quick_api.create()


async def test_one_key_makes_one_session(quick_api: Api) -> None:
    headers, body = {"Idempotency-Key": f"one-{quick_api.stack.mark}"}, {"metadata": {"wish": "one"}}
    answers = await asyncio.gather(*(quick_api.http.post(SESSIONS, json=body, headers=headers) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count("true") == 4
    assert len(await quick_api.live()) == 1
    other = await quick_api.http.post(SESSIONS, json={"metadata": {"wish": "two"}}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(await quick_api.live()) == 1


async def test_a_hundred_at_once_are_each_done_once(quick_api: Api) -> None:
    headers = {"Idempotency-Key": f"hundred-{quick_api.stack.mark}"}
    creates = await asyncio.gather(*(quick_api.http.post(SESSIONS, json={}, headers=headers) for _ in range(100)))
    assert {answer.status_code for answer in creates} == {200, 201}
    [session_id] = {answer.json()["id"] for answer in creates}
    bodies = [{"input": f"demo> say number {number % 50}", "id": f"input-{number % 50}"} for number in range(100)]
    answers = await asyncio.gather(*(quick_api.post(session_id, "/input", body) for body in bodies))
    assert {answer.status_code for answer in answers} == {202}

    async def done() -> bool:
        return bool((await quick_api.get(session_id))["usage"]["turns"] == 50)

    await eventually(done, seconds=120, what=lambda: "fifty turns")
    output = await quick_api.all(session_id, "output")
    assert [event["seq"] for event in output] == list(range(1, len(output) + 1))
    inputs = [event["data"]["id"] for event in output if event["kind"] == "input"]
    results = [
        event["data"]["input_id"]
        for event in output
        if event["kind"] == "message" and event["data"]["message"].get("type") == "result"
    ]
    assert sorted(inputs) == sorted(results) == sorted({body["id"] for body in bodies})


async def test_one_input_id_is_one_turn(quick_api: Api) -> None:
    created = await quick_api.create()
    body = {"input": "demo> say once", "id": "only-one"}
    answers = await asyncio.gather(*(quick_api.post(created["id"], "/input", body) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["seq"] for answer in answers}) == 1

    async def done() -> bool:
        return bool((await quick_api.get(created["id"]))["usage"]["turns"] == 1)

    await eventually(done, what=lambda: "one turn")
    inputs = [event for event in await quick_api.all(created["id"], "output") if event["kind"] == "input"]
    assert len(inputs) == 1
