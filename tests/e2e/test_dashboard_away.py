"""The server hangs, dies or refuses while somebody writes: nothing is lost or sent twice, and the page says so."""

from contextlib import suppress
from uuid import uuid4

import httpx
from playwright.async_api import Browser, Page, Route, expect

from tests.support.browsing import DESK, PHONE, confirm, page_of
from tests.support.processes import stopped
from tests.support.stack_client import SESSIONS, Api, eventually

ANY_STATUS = "Failed to load resource"
WAITS = "Waiting for the server …"
AWAY = "The server does not answer. Trying again …"


def _pid(api: Api, service: str) -> int:
    pid = api.stack.pid(service)
    assert pid is not None
    return pid


async def _session(api: Api, title: str) -> str:
    session_id: str = (await api.create("demo> say hello", title=title))["id"]
    await api.until(session_id, waiting_for="prompt")
    return session_id


async def test_a_manager_that_hangs_makes_nothing_twice(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Hangs")
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".said")).to_contain_text("hello")
        prompt = page.get_by_label("Prompt", exact=True)
        await page.get_by_role("button", name="Share", exact=True).click()
        panel = page.get_by_role("dialog", name="Share")
        await panel.get_by_label("People").fill("3")
        with stopped(_pid(local_api, "manager")):
            for _ in range(3):
                await panel.get_by_role("button", name="Make a link").click(force=True)  # while it is aria-disabled
            await expect(panel.get_by_text(WAITS)).to_be_visible()  # in the dialog, where the person looks
        await expect(panel.get_by_label("Link")).to_be_visible()
        await expect(panel.get_by_text(WAITS)).to_have_count(0)
        assert len(await local_api.get(session_id, "/invites")) == 1
        await page.keyboard.press("Escape")
        with stopped(_pid(local_api, "manager")):
            await prompt.fill("demo> say once")
            for _ in range(3):
                await page.keyboard.press("Enter")
            await expect(page.get_by_text(WAITS)).to_be_visible()
            await prompt.fill("written meanwhile")
        await expect(page.locator(".said").nth(1)).to_contain_text("once")
        await expect(prompt).to_have_value("written meanwhile")
        await expect(page.locator(".user")).to_have_count(2)


async def test_a_prompt_that_steers_does_not_interrupt_itself(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> sleep 60", title="Steers"))["id"]
    await local_api.until(session_id, status="active")
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        prompt = page.get_by_label("Prompt", exact=True)
        await prompt.fill("demo> sleep 3")
        interrupts: list[str] = []
        page.on("request", lambda request: interrupts.append(request.url) if "/interrupt" in request.url else None)
        with stopped(_pid(local_api, "manager")):
            for _ in range(3):
                await page.keyboard.press("Control+Enter")
            await expect(page.get_by_text(WAITS)).to_be_visible()
        await expect(page.locator(".note.end").last).to_contain_text("tokens")
        assert len(interrupts) == 1
        await prompt.fill("demo> sleep 60")
        await page.keyboard.press("Enter")
        interrupt = page.get_by_role("button", name="Interrupt")
        await expect(interrupt).to_be_visible()
        with stopped(_pid(local_api, "manager")):
            for _ in range(3):
                await interrupt.click(force=True)
        await expect(interrupt).to_have_count(0)
        assert len(interrupts) == 2


async def test_a_manager_that_dies_takes_no_form_along(local_api: Api, browser: Browser) -> None:
    archived = await _session(local_api, "Archived and open")
    await local_api.http.patch(f"{SESSIONS}/{archived}", json={"archived": True})
    title = f"Made once {uuid4()}"
    async with (
        page_of(local_api, browser, DESK, refused=ANY_STATUS) as page,
        page_of(local_api, browser, PHONE, refused=ANY_STATUS) as other,
    ):
        await other.goto(f"{local_api.stack.url}/#/s/{archived}")
        await expect(other.locator(".said")).to_contain_text("hello")
        await page.goto(f"{local_api.stack.url}/#/new")
        await page.get_by_label("First prompt").fill("demo> say made")
        await page.get_by_label("Title").fill(title)
        await page.get_by_label("Effort").select_option("low")
        await page.route("**/api/v1/sessions", _lose_the_answer)  # made, and the answer never arrives
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        await page.unroute("**/api/v1/sessions")
        gone = local_api.stack.kill("manager")
        await eventually(lambda: _again(local_api, gone), seconds=90, what=lambda: "another manager")
        await expect(page.get_by_text(AWAY)).to_have_count(0)
        await expect(other.get_by_text(AWAY)).to_have_count(0)
        await expect(other.locator(".said")).to_contain_text("hello")  # also what no list has
        await page.reload()
        await expect(page.get_by_label("Title")).to_have_value(title)
        await expect(page.get_by_label("Effort")).to_have_value("low")
        await page.get_by_label("Title").fill(f"{title}, changed")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("changed")
        await page.goto(f"{local_api.stack.url}/#/new")
        await expect(page.get_by_label("Title")).to_have_value("")


async def _again(api: Api, gone: int) -> bool:
    with suppress(httpx.HTTPError):
        return api.stack.pid("manager") not in {None, gone} and (await api.http.get("/api/v1/me")).is_success
    return False


async def _lose_the_answer(route: Route) -> None:
    if route.request.method == "POST":
        await route.fetch()
        await route.abort()
    else:
        await route.continue_()


async def test_what_could_not_be_loaded_says_so_and_is_loaded_later(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Loads")
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:

        async def refuse(route: Route) -> None:
            await route.fulfill(status=503, json={"code": "dependency", "detail": "the runner is away"})

        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".said")).to_contain_text("hello")
        await page.route("**/ports", refuse)
        await page.get_by_role("button", name="Ports").click()
        panel = page.get_by_role("dialog", name="Ports")
        await expect(panel).to_contain_text("The runner is away")
        await expect(panel).not_to_contain_text("Loading")
        await page.unroute("**/ports")
        await panel.get_by_role("button", name="Try again").click()
        await expect(panel).to_contain_text("No server of this session listens now")
        await page.keyboard.press("Escape")
        for part, what in (("files", "The folder is empty"), ("events", "session.created")):
            await page.route(f"**/{session_id}/{part}/**", refuse)
            await page.route(f"**/{session_id}/{part}?*", refuse)
            await page.goto(f"{local_api.stack.url}/#/s/{session_id}/{part}")
            await expect(page.get_by_text("The runner is away")).to_be_visible()
            await page.unroute_all()
            await page.get_by_role("button", name="Try again").click()
            await expect(page.get_by_text(what).first).to_be_visible()


async def test_figures_of_other_days_are_not_shown_for_those_that_could_not_be_read(
    local_api: Api, browser: Browser
) -> None:
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:
        await page.goto(f"{local_api.stack.url}/#/usage")
        await expect(page.get_by_role("heading", name="Cost by day")).to_be_visible()
        await page.route("**/usage?*", lambda route: route.fulfill(status=503, json={"detail": "the store is away"}))
        await page.get_by_role("button", name="90 days").click()
        await expect(page.get_by_text("The store is away")).to_be_visible()
        await expect(page.get_by_role("heading", name="Cost by day")).to_have_count(0)
        await page.unroute_all()
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("heading", name="Cost by day")).to_be_visible()


async def test_a_kept_profile_that_is_gone_is_shown_before_it_is_sent(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser, DESK) as page:
        await page.evaluate("""localStorage.setItem("jelmore.draft.new.fields", '{"profile": "gone"}')""")
        await page.goto(f"{local_api.stack.url}/#/new")
        await expect(page.get_by_label("Profile")).to_have_value("gone")
        await page.get_by_label("Profile").select_option("")
        await page.reload()
        await expect(page.get_by_label("First prompt")).to_be_focused()
        assert "gone" not in await page.locator("form").inner_text()


async def test_a_list_that_is_read_again_leaves_an_error_where_it_is(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Errs")
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:
        await page.clock.install()
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.get_by_role("button", name="Share", exact=True).click()
        panel = page.get_by_role("dialog", name="Share")

        async def refuse(route: Route) -> None:
            if route.request.method == "POST":
                await route.fulfill(status=409, json={"code": "conflict", "detail": "too many links"})
            else:
                await route.continue_()

        await page.route("**/invites", refuse)
        await panel.get_by_role("button", name="Make a link").click()
        await expect(panel.get_by_role("alert")).to_contain_text("Too many links")
        async with page.expect_response("**/participants"):
            await page.clock.run_for(10_000)
        await expect(panel.get_by_role("alert")).to_contain_text("Too many links")


async def test_an_erased_session_says_so_where_it_is_open(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Erased")
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".said")).to_contain_text("hello")
        await local_api.delete(session_id)
        answer = await local_api.http.post(f"{SESSIONS}/{session_id}/erase")
        assert answer.is_success, answer.text
        await expect(page.get_by_role("alert")).to_contain_text("This session was erased")
        await expect(page.locator(".said")).to_have_count(0)


async def test_a_revoked_key_asks_to_sign_in_and_keeps_the_draft(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Revoked")
    made = (await local_api.http.post("/api/v1/admin/keys", json={"name": "For a while", "role": "admin"})).json()
    async with page_of(local_api, browser, DESK, signed_in=False, refused=ANY_STATUS) as page:
        await _sign_in(page, made["key"])
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.get_by_label("Prompt", exact=True).fill("half-written")
        await local_api.http.delete(f"/api/v1/admin/keys/{made['id']}")
        await expect(page.get_by_label("API key")).to_be_visible()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.wait_for_timeout(5000)
        assert [url for url in asked if "/events/stream" in url][1:] == []  # a page without a login asks for no stream
        await _sign_in(page, local_api.stack.api_key)
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("half-written")


async def _sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("link", name="Jelmore")).to_be_visible()


async def test_of_two_who_answer_the_second_learns_it(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run touch raced", title="Raced"))["id"]
    await local_api.until(session_id, waiting_for="permission")
    async with page_of(local_api, browser, DESK, refused="409") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        pending = (await local_api.get(session_id, "/permissions"))["pending"][0]["request_id"]

        async def be_late(route: Route) -> None:
            first = await local_api.post(session_id, f"/permissions/{pending}", {"decision": "deny"})
            assert first.is_success, first.text
            await route.continue_()

        await page.route(f"**/permissions/{pending}", be_late)
        await page.get_by_role("button", name="Allow", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("It had been answered already")
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_have_count(0)
        await local_api.until(session_id, waiting_for="prompt")
        await expect(page.locator(".note").filter(has_text="deny")).to_be_visible()


async def test_a_question_of_the_page_still_stands_after_the_server_was_away(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Asks first")
    async with page_of(local_api, browser, DESK, refused=ANY_STATUS) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.get_by_role("button", name="Asks first").click()
        await page.get_by_label("Title").fill("Renamed")
        await page.context.set_offline(offline=True)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        await expect(page.get_by_label("Title")).to_have_value("Renamed")
        await page.context.set_offline(offline=False)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Renamed")
        await page.get_by_role("button", name="End", exact=True).click()
        await page.context.set_offline(offline=True)
        await confirm(page, "End it")
        await expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        await page.context.set_offline(offline=False)
        assert (await local_api.get(session_id))["terminated_at"] is None
