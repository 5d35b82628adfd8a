"""A browser that is notified: from the button to the notification, with a push service of the test in between.

Chromium's own push service is on the internet; what the page asks of it is answered here, and what the service gets is
handed to the browser as the developer tools do it.
"""

import json
from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, page_of, picture, profile_of, violations
from tests.support.desktop_notifications import Desktop
from tests.support.push_service import PushService
from tests.support.stack_client import Api
from tests.support.waiting import until

SUBSCRIBING = """(subscription) => {
    let made = null;
    const given = { ...subscription, toJSON: () => subscription, unsubscribe: async () => (made = null, true) };
    PushManager.prototype.subscribe = async (options) => {
        globalThis.asked = options;
        return (made = given);
    };
    PushManager.prototype.getSubscription = async () => made;
    Notification.requestPermission = async () => "granted";
}"""
SHOWN = """async () => (await (await navigator.serviceWorker.ready).getNotifications()).map(
    (each) => ({ title: each.title, body: each.body, tag: each.tag, path: each.data.path }))"""


async def deliver(page: Page, origin: str, message: dict[str, Any]) -> None:
    """Hand a message to the service worker, as the browser does after it has decrypted it."""
    tools = await page.context.new_cdp_session(page)
    registrations: list[str] = []
    tools.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda found: registrations.extend(each["registrationId"] for each in found["registrations"]),
    )
    await tools.send("ServiceWorker.enable")
    await until(lambda: bool(registrations))
    await tools.send(
        "ServiceWorker.deliverPushMessage",
        {"origin": f"{origin}/", "registrationId": registrations[-1], "data": json.dumps(message)},
    )


async def test_a_session_that_waits_notifies_the_browser(local_api: Api, browser: Browser) -> None:
    async with PushService() as service, page_of(local_api, browser, DESK) as page:
        await page.context.grant_permissions(["notifications"], origin=local_api.stack.url)
        await page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        await page.evaluate(SUBSCRIBING, service.subscription())
        await page.get_by_role("button", name="Notify me when a session waits").click()
        await expect(page.get_by_role("button", name="Notify me no more")).to_be_visible()
        assert await page.evaluate("asked.userVisibleOnly") is True
        key = (await local_api.http.get("/api/v1/push")).json()["public_key"]
        assert await page.evaluate("asked.applicationServerKey.length") == 65
        assert await violations(page) == []
        await picture(page, "push-desk-light")

        session_id = (await local_api.create("demo> run touch x", title="<b>Mend</b> the parser"))["id"]
        await until(lambda: bool(service.messages), seconds=30)
        assert service.keys == {key}
        await deliver(page, local_api.stack.url, service.messages[0])

        async def shown() -> bool:
            return bool(await page.evaluate(SHOWN))

        await until(shown, seconds=15)
        assert await page.evaluate(SHOWN) == [
            {
                "title": "<b>Mend</b> the parser",
                "body": "asks for a permission",
                "tag": session_id,
                "path": f"/#/s/{session_id}",
            }
        ]
        forged = {"title": "t", "session_id": "//elsewhere.example", "waiting_for": "?"}
        await deliver(page, local_api.stack.url, forged)

        async def both() -> bool:
            return len(await page.evaluate(SHOWN)) == 2

        await until(both, seconds=15)
        assert {each["path"] for each in await page.evaluate(SHOWN)} == {f"/#/s/{session_id}", "/"}

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        assert await page.evaluate("localStorage.getItem('jelmore.push')") is None
        await local_api.create("demo> run touch y")
        await local_api.delete(session_id)
    assert len(service.messages) == 1, "who has signed out is not notified"


ANOTHERS = """() => {
    localStorage.setItem("jelmore.push", "0198b2f0-0000-7000-8000-00000000000a");
    localStorage.setItem("jelmore.push.of", "key_of_another");
    const given = { unsubscribe: async () => (sessionStorage.setItem("given_up", "yes"), new Promise(() => {})) };
    PushManager.prototype.getSubscription = async () => given;
}"""


async def test_who_signs_in_after_somebody_whose_login_ran_out_gives_up_their_subscription(
    local_api: Api, browser: Browser
) -> None:
    async with page_of(local_api, browser, DESK) as page:
        await page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        await page.add_init_script(f"sessionStorage.getItem('given_up') || ({ANOTHERS})()")
        await page.reload()
        await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        await page.wait_for_function("() => sessionStorage.getItem('given_up') === 'yes'")
        assert await page.evaluate("localStorage.getItem('jelmore.push')") is None
        # a push service that does not answer keeps nobody signed in
        await page.evaluate(f"({ANOTHERS})()")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()


async def test_a_click_on_a_notification_opens_its_session(local_api: Api) -> None:
    """Chromium shows it through the desktop, which reports the click. In a private profile, Chromium ignores it."""
    first, second = [(await local_api.create("demo> say hello", title=name))["id"] for name in ("First", "Second")]
    origin = local_api.stack.url
    async with (
        Desktop() as desktop,
        profile_of(desktop.address) as profile,
        page_of(local_api, profile) as page,
    ):
        await page.context.grant_permissions(["notifications"], origin=origin)
        await page.wait_for_function("() => navigator.serviceWorker.controller !== null")

        async def notified(session_id: str) -> None:
            seen = len(desktop.shown)
            message = {"title": f"of {session_id}", "session_id": session_id, "waiting_for": "question"}
            await deliver(page, origin, message)
            await until(lambda: len(desktop.shown) > seen, seconds=15)
            assert (desktop.shown[-1].title, session_id) == (f"of {session_id}", session_id)
            assert "asks a question" in desktop.shown[-1].body
            desktop.click(desktop.shown[-1])

        await page.goto(f"{origin}/#/new")
        await page.get_by_label("Title").fill("Not lost")
        await notified(first)
        await expect(page.get_by_role("heading", level=1)).to_have_text("First")
        assert page.url == f"{origin}/#/s/{first}"
        await page.goto(f"{origin}/#/s/{second}/files")
        await page.evaluate("globalThis.stays = true")
        await notified(second)  # it is open, on whatever tab of its own
        await page.wait_for_timeout(1000)
        assert page.url == f"{origin}/#/s/{second}/files"
        assert await page.evaluate("globalThis.stays") is True
        await page.goto(f"{origin}/#/join/jli_of_somebody")
        await expect(page.get_by_label("Your name")).to_be_visible()
        async with page.context.expect_page() as opened:
            await notified(first)
        fresh = await opened.value
        await expect(fresh.get_by_role("heading", level=1)).to_have_text("First")
        await expect(page.get_by_label("Your name")).to_be_visible()
