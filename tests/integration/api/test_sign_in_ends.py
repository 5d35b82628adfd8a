"""What ends when somebody loses a group: tokens, streams, and events of others' sessions."""

import asyncio

import pytest

from tests.integration.api.test_sign_in import SESSIONS, WRITE, Place, place, signed_in
from tests.support.waiting import until

__all__ = ["place"]

pytestmark = pytest.mark.integration


async def test_a_refused_sign_in_ends_tokens_and_streams_of_the_earlier_one(place: Place) -> None:
    async with signed_in(place) as browser, place.api.client("") as program:
        session = (await browser.post(SESSIONS, headers=WRITE)).json()
        url, headers = f"{SESSIONS}/{session['id']}", {"Authorization": f"Bearer {session['token']}"}
        assert (await program.get(url, headers=headers)).status_code == 200
        place.provider.claims["groups"] = ["nobody"]
        async with program.stream("GET", f"{url}/stream?after=0", headers=headers) as stream:
            assert await place.outcome() == "no_group"
            async with asyncio.timeout(5):
                async for _ in stream.aiter_lines():
                    pass
        assert (await program.get(url, headers=headers)).status_code == 401
        place.provider.claims["groups"] = ["devs"]
        assert await place.come_back(browser, await place.began(browser)) == "done"
        assert (await browser.get(url)).status_code == 200


async def test_who_is_no_admin_any_more_gets_nothing_of_the_sessions_of_others(place: Place) -> None:
    place.provider.claims["groups"] = ["ops"]
    async with signed_in(place) as browser, place.api.client() as other:
        hook = {"url": "https://hooks.example.com/x"}
        assert (await browser.post("/api/v1/webhooks", json=hook, headers=WRITE)).status_code == 201
        async with browser.stream("GET", "/api/v1/events/stream") as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            earlier = (await other.post(SESSIONS, json={})).json()["id"]
            store = place.api.events.webhook_store
            assert [each.only_owner for each in await store.active()] == [None]
            place.provider.claims["groups"] = ["devs"]
            assert await place.come_back(browser, await place.began(browser)) == "done"
            async with asyncio.timeout(5):
                async for _ in lines:
                    pass
        account = (await browser.get("/api/v1/me")).json()
        assert account["role"] == "client"
        assert [each.only_owner for each in await store.active()] == [account["id"]]
        (webhook,) = await store.active()

        async def is_given_up() -> bool:
            found = (await browser.get(f"/api/v1/webhooks/{webhook.id}/deliveries")).json()
            return any(each["session_id"] == earlier and "not see it" in str(each["error"]) for each in found)

        await until(is_given_up, seconds=10)  # it was made while the account was an admin's
