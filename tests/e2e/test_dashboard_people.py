"""Who has a session open, on its page and in the command."""

from pathlib import Path

from playwright.async_api import Browser, expect

from tests.e2e.test_command import Shell
from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.stack_client import SESSIONS, Api, Talk


async def test_who_else_looks_is_shown_by_initials(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    session_id = (await local_api.create("demo> say hello", title="Shared"))["id"]
    made = await local_api.http.post("/api/v1/admin/keys", json={"name": "Bob Bauer", "role": "readonly"})
    async with page_of(local_api, browser, DESK) as desk:
        await desk.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(desk.locator(".said")).to_contain_text("hello")
        people = desk.get_by_role("img", name="Open at the moment")
        await expect(people).to_have_count(0)
        async with page_of(local_api, browser, PHONE, "dark", signed_in=False) as phone:
            await phone.get_by_label("API key").fill(made.json()["key"])
            await phone.get_by_role("button", name="Sign in").click()
            await expect(phone.get_by_role("link", name="Jelmore")).to_be_visible()
            await phone.goto(f"{local_api.stack.url}/#/s/{session_id}")
            await expect(people).to_contain_text("BB")
            await expect(people).to_have_accessible_name(
                "Open at the moment: from JELMORE_API_KEY (owner), Bob Bauer (viewer)"
            )
            await expect(phone.get_by_role("img", name="Bob Bauer (viewer)")).to_be_visible()
            for page, name in ((desk, "people-desk-light"), (phone, "people-phone-dark")):
                assert await violations(page) == []
                await picture(page, name)
            code, out, err = await Shell(local_api, tmp_path).run("show", session_id)
            assert code == 0, err
            assert "looking: from JELMORE_API_KEY (owner), Bob Bauer (viewer)" in " ".join(out.split())
        await expect(people).to_have_count(0)


async def test_who_is_connected_to_the_sessions_own_url_is_shown_too(local_api: Api, browser: Browser) -> None:
    session = await local_api.create("demo> say hello", title="Own URL")
    await local_api.until(session["id"], waiting_for="prompt")
    made = await local_api.http.post("/api/v1/admin/keys", json={"name": "Program Pia", "role": "readonly"})
    with_key = {"X-API-Key": made.json()["key"]}
    token = await local_api.http.post(f"{SESSIONS}/{session['id']}/token", headers=with_key, json={"scopes": ["read"]})
    async with page_of(local_api, browser, DESK) as desk:
        await desk.goto(f"{local_api.stack.url}/#/s/{session['id']}")
        people = desk.get_by_role("img", name="Open at the moment")
        await expect(desk.locator(".said")).to_contain_text("hello")
        await expect(people).to_have_count(0)
        async with Talk(session["urls"]["ws"], token=token.json()["token"]):
            await expect(people).to_have_accessible_name(
                "Open at the moment: from JELMORE_API_KEY (owner), Program Pia (viewer)"
            )
            await picture(desk, "people-own-url-desk-light")
        await expect(people).to_have_count(0)
