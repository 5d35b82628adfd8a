"""A pipeline that is called: sessions in containers wait, end, fail and reach their budget, and a webhook says so."""

from contextlib import suppress

from tests.support.stack import docker, docker_lines
from tests.support.stack_client import Api, Frame, eventually
from tests.support.webhook_receiver import Receiver, verify

HOOKS = "/api/v1/webhooks"
WANTED = ("session.state_changed", "session.terminated", "session.failed", "session.budget_reached")


async def test_a_webhook_says_what_becomes_of_sessions(quick_api: Api) -> None:
    api = quick_api
    async with Receiver(status=500) as receiver:
        body = {"url": receiver.url, "events": WANTED, "waiting_for": ["permission", "question"]}
        made = await api.http.post(HOOKS, json=body)
        assert made.status_code == 201, made.text
        hook = made.json()
        waits = await api.create("demo> run touch made.txt")
        await called(receiver, waits, "session.state_changed", to="waiting_input", waiting_for="permission")
        receiver.status = 204
        await eventually(lambda: counted(receiver, 2), what=lambda: "the second attempt")
        assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"]
        await api.delete(waits["id"])
        await called(receiver, waits, "session.terminated", reason="deleted")
        poor = await api.create("demo> say one", budget_usd=0.0001)
        await called(receiver, poor, "session.budget_reached")
        await api.delete(poor["id"])
        broken = await api.create()
        await until_failed(api, broken["id"])
        await called(receiver, broken, "session.failed")
        assert all(verify(hook["secret"], *each) for each in receiver.got)
        await replays(api, receiver, hook)


async def replays(api: Api, receiver: Receiver, hook: Frame) -> None:
    """Send the newest delivery again: the same id and event, and a signature of now."""
    url = f"{HOOKS}/{hook['id']}"

    async def delivered() -> bool:
        return {each["state"] for each in (await api.http.get(f"{url}/deliveries")).json()} == {"delivered"}

    await eventually(delivered, what=lambda: "everything is delivered")
    newest = (await api.http.get(f"{url}/deliveries")).json()[0]
    before = len(receiver.got)
    assert (await api.http.post(f"{url}/deliveries/{newest['id']}/replay")).status_code == 202
    await eventually(lambda: counted(receiver, before + 1), what=lambda: "the replay")
    headers, sent = receiver.got[-1]
    assert headers["webhook-id"] == newest["id"]
    assert verify(hook["secret"], headers, sent)
    assert (await api.http.delete(url)).status_code == 204


async def until_failed(api: Api, session_id: str) -> None:
    """Kill the session's containers, as a host without memory does, until nothing starts it again."""

    async def failed() -> bool:
        for container in docker_lines("ps", "--quiet", "--filter", f"label=jelmore.session={session_id}"):
            with suppress(AssertionError):  # it has gone meanwhile
                docker("kill", container)
        return bool((await api.get(session_id))["status"] == "failed")

    await eventually(failed, seconds=90, what=lambda: "the end of its restarts")


async def counted(receiver: Receiver, calls: int) -> bool:
    return len(receiver.got) >= calls


async def called(receiver: Receiver, session: Frame, event_type: str, **payload: str) -> None:
    """Return when the receiver was called with the event."""

    async def there() -> bool:
        found = [each for each in receiver.events() if each["session_id"] == session["id"]]
        return any(each["event_type"] == event_type and payload.items() <= each["payload"].items() for each in found)

    await eventually(there, what=lambda: f"{event_type} of {session['id']}; it got {receiver.types()}")
