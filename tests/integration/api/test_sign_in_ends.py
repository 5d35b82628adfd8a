"""What ends when somebody loses a group: tokens, streams, and events of others' sessions."""

import asyncio
from datetime import UTC, datetime, timedelta

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


async def test_another_role_ends_the_tokens_of_the_former_one_and_new_ones_work(place: Place) -> None:
    place.provider.claims["groups"] = ["ops"]
    async with signed_in(place) as browser, place.api.client() as other, place.api.client("") as program:
        theirs = (await other.post(SESSIONS, json={})).json()["id"]
        token = (await browser.post(f"{SESSIONS}/{theirs}/token", headers=WRITE)).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert (await program.get(f"{SESSIONS}/{theirs}", headers=headers)).status_code == 200
        place.provider.claims["groups"] = ["devs"]
        assert await place.come_back(browser, await place.began(browser)) == "done"
        refused = await program.get(f"{SESSIONS}/{theirs}", headers=headers)
        assert refused.status_code == 401, refused.text
        mine = (await browser.post(SESSIONS, headers=WRITE)).json()
        again = {"Authorization": f"Bearer {mine['token']}"}
        shown = await program.get(f"{SESSIONS}/{mine['id']}", headers=again)
        assert shown.status_code == 200, shown.text
        account = (await browser.get("/api/v1/me")).json()["id"]
        assert mine["owner"] == account
        assert (await other.delete(f"/api/v1/admin/keys/{account}")).status_code == 204
        assert (await program.get(f"{SESSIONS}/{mine['id']}", headers=again)).status_code == 401
        revoked = await place.api.store.revoked_keys(datetime.now(UTC) - timedelta(minutes=1))
        assert {account, f"{account}#1"} <= set(revoked)


async def test_a_token_of_a_refused_sign_in_stays_refused_after_the_next_one(place: Place) -> None:
    async with signed_in(place) as browser, place.api.client("") as program:
        session = (await browser.post(SESSIONS, headers=WRITE)).json()
        url, headers = f"{SESSIONS}/{session['id']}", {"Authorization": f"Bearer {session['token']}"}
        place.provider.claims["groups"] = ["nobody"]
        assert await place.outcome() == "no_group"
        place.provider.claims["groups"] = ["devs"]
        assert await place.come_back(browser, await place.began(browser)) == "done"
        assert (await program.get(url, headers=headers)).status_code == 401
        token = (await browser.post(f"{url}/token", headers=WRITE)).json()["token"]
        assert (await program.get(url, headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_who_was_invited_by_an_admin_that_is_none_any_more_has_lost_the_sessions_of_others(place: Place) -> None:
    place.provider.claims["groups"] = ["ops"]
    async with signed_in(place) as browser, place.api.client() as other, place.api.client("") as guest:
        theirs = (await other.post(SESSIONS, json={})).json()["id"]
        mine = (await browser.post(SESSIONS, headers=WRITE)).json()["id"]
        found = {}
        for session_id in (theirs, mine):
            invite = await browser.post(
                f"{SESSIONS}/{session_id}/invites", headers=WRITE, json={"role": "editor", "uses": 2}
            )
            accepted = await guest.post(
                "/api/v1/invites/accept", json={"invite": invite.json()["invite"], "name": "Eve"}
            )
            found[session_id] = {"X-API-Key": accepted.json()["credential"]}, invite.json()["invite"]
            assert (await guest.get(f"{SESSIONS}/{session_id}", headers=found[session_id][0])).status_code == 200
        place.provider.claims["groups"] = ["devs"]
        assert await place.come_back(browser, await place.began(browser)) == "done"
        statuses = [
            (await guest.get(f"{SESSIONS}/{each}", headers=found[each][0])).status_code for each in (theirs, mine)
        ]
        assert statuses == [401, 200]
        bodies = [{"invite": found[each][1], "name": "Eve again"} for each in (theirs, mine)]
        assert [(await guest.post("/api/v1/invites/accept", json=body)).status_code for body in bodies] == [401, 201]
        gone = await place.api.store.revoked_keys(datetime.now(UTC) - timedelta(minutes=1))
        assert len([each for each in gone if each.startswith("person_")]) == 1
