"""Where a page is: its address, its name, what a step back returns to, and how many connections it takes for that."""

import asyncio
from urllib.parse import quote

from playwright.async_api import Browser, Page, Route, expect

from tests.support.browsing import DESK, PHONE, page_of, violations
from tests.support.stack_client import SESSIONS, Api

ODD = "50% of ä#b.md"
HIDDEN = """let hidden = true;
Object.defineProperty(Document.prototype, "visibilityState", {get: () => (hidden ? "hidden" : "visible")});
globalThis.show = (is) => {
    hidden = !is;
    document.dispatchEvent(new Event("visibilitychange"));
};
const open = new Set();
globalThis.EventSource = class extends EventSource {
    constructor(address) {
        super(address);
        open.add(this);
    }
};
globalThis.streams = () => [...open].filter((each) => each.readyState !== 2).length;"""


async def _session(api: Api, title: str) -> str:
    session_id: str = (await api.create("demo> say hello", title=title))["id"]
    await api.until(session_id, waiting_for="prompt")
    return session_id


async def test_a_folder_and_a_file_have_addresses(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Has files")
    for path, content in (("docs/deep/" + ODD, b"what it says"), ("docs/large.txt", b"x" * 600_000)):
        answer = await local_api.http.put(f"{SESSIONS}/{session_id}/files/{quote(path)}", content=content)
        assert answer.status_code == 201, answer.text
    base = f"{local_api.stack.url}/#/s/{session_id}/files"
    async with page_of(local_api, browser, PHONE, refused="404") as page:
        await page.goto(base)
        files = page.get_by_role("region", name="Files")
        for name in ("docs/", "deep/", ODD):
            await files.get_by_role("button", name=name).click()
        shown = files.locator("pre.code")
        await expect(shown).to_have_text("what it says")
        assert page.url == f"{base}/{quote('docs/deep/' + ODD)}"
        await page.reload()
        await expect(shown).to_have_text("what it says")
        assert await violations(page) == []
        await page.go_back()
        await expect(files.get_by_role("button", name=ODD)).to_be_visible()
        await files.get_by_role("button", name="docs", exact=True).click()
        await files.get_by_role("button", name="large.txt").click()
        await expect(files).to_contain_text("Too large or not text")
        await files.get_by_role("button", name="Close").click()
        await expect(files.get_by_role("button", name="deep/")).to_be_visible()
        await page.goto(f"{base}/gone.txt")
        await expect(files.get_by_role("button", name="Try again")).to_be_visible()
        await files.get_by_role("button", name="workspace").click()
        await expect(files.get_by_role("button", name="docs/")).to_be_visible()
        await page.goto(f"{base}/..%2F..%2F..%2Fme")  # no other call of the API
        await expect(files.get_by_role("button", name="docs/")).to_be_visible()


async def test_a_tab_and_a_bookmark_say_what_they_are(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Mend the parser")
    async with page_of(local_api, browser, DESK, refused="Failed to load resource") as page:
        await expect(page).to_have_title("Jelmore")
        for address, title in (
            (f"/s/{session_id}", "Mend the parser · Jelmore"),
            (f"/s/{session_id}/changes", "Mend the parser · Jelmore"),
            ("/new", "New session · Jelmore"),
            ("/operator", "Operator · Jelmore"),
            ("/", "Jelmore"),
        ):
            await page.goto(f"{local_api.stack.url}/#{address}")
            await expect(page).to_have_title(title)
        waiting = (await local_api.create("demo> run touch x", title="Asks"))["id"]
        await local_api.until(waiting, waiting_for="permission")
        await expect(page).to_have_title("(1) Jelmore")
        await page.goto(f"{local_api.stack.url}/ui/terminal.html#{session_id}")
        await expect(page).to_have_title("Mend the parser · Terminal · Jelmore")
        await page.goto(f"{local_api.stack.url}/#/s/none")
        await page.get_by_role("link", name="Inbox and sessions").click()
        await expect(page.get_by_role("heading", name="Waits for you")).to_be_visible()


async def test_pages_that_nobody_sees_leave_the_connections_to_the_others(local_api: Api, browser: Browser) -> None:
    """A browser opens six connections to a server without HTTP/2, for all tabs together."""
    session_id = await _session(local_api, "In many tabs")
    async with page_of(local_api, browser, DESK) as page:
        await page.context.add_init_script(HIDDEN)
        tabs: list[Page] = []
        for _ in range(8):
            tabs.append(await page.context.new_page())
            await tabs[-1].goto(f"{local_api.stack.url}/#/s/{session_id}")
            await expect(tabs[-1].get_by_label("Prompt", exact=True)).to_be_visible()
        held = [await each.evaluate("streams()") for each in tabs]
        assert sum(held) <= 1, held  # one tab's name continues to show how many sessions wait
        last = tabs[-1]
        await last.evaluate("show(true)")
        await expect(last.locator(".said")).to_contain_text("hello")
        await last.get_by_label("Prompt", exact=True).fill("demo> say again")
        await last.keyboard.press("Enter")
        await expect(last.locator(".said").last).to_contain_text("again")
        await last.clock.install()
        await last.evaluate("show(false)")
        await last.clock.fast_forward(5_000)
        assert await last.evaluate("streams()") == 2  # for somebody who comes back soon
        await last.clock.fast_forward(30_000)
        await last.wait_for_function("() => streams() === 0")
        first = tabs[0]
        await first.evaluate("show(true)")
        await expect(first.locator(".said")).to_have_text(["[demo model] hello", "[demo model] again"])


async def test_what_waits_is_in_the_inbox_however_long_the_list_is(local_api: Api, browser: Browser) -> None:
    waits = (await local_api.create("demo> run touch old", title="Waits since long"))["id"]
    await local_api.until(waits, waiting_for="permission")
    pinned = await _session(local_api, "Pinned long ago")
    await local_api.http.patch(f"{SESSIONS}/{pinned}", json={"pinned": True})
    other = await local_api.get(await _session(local_api, "Another"))
    ids = (f"{number:08x}-0000-7000-8000-000000000000" for number in range(200))
    many = [{**other, "id": each, "title": each[:8]} for each in ids]

    async def newest(route: Route) -> None:
        """As with as many newer ones as a page lists."""
        asked = route.request.url
        if "pinned=true" in asked or "waiting_for=" in asked:
            return await route.continue_()
        return await route.fulfill(json=many)

    async with page_of(local_api, browser, DESK) as page:
        await page.route("**/api/v1/sessions?*", newest)
        await page.reload()
        await expect(page.get_by_role("region", name="Waits for you")).to_contain_text("Waits since long")
        await expect(page.get_by_role("region", name="Sessions", exact=True).locator("a.row").first).to_contain_text(
            "Pinned long ago"
        )
        await expect(page.get_by_text("More sessions match than are listed")).to_be_visible()
        await page.unroute_all()
    await local_api.http.patch(f"{SESSIONS}/{pinned}", json={"pinned": False})


async def test_a_page_begins_at_its_top_and_a_step_back_returns_to_the_place(local_api: Api, browser: Browser) -> None:
    long = await local_api.get(await _session(local_api, "One of many"))
    ids = (f"{number:08x}-0000-7000-8000-000000000000" for number in range(100))
    many = [{**long, "id": each, "title": each[:8]} for each in ids]
    async with page_of(local_api, browser, PHONE) as page:
        await page.route("**/api/v1/sessions?*", lambda route: route.fulfill(json=[*many, long]))
        await page.reload()
        row = page.locator("a.row", has_text="One of many")
        await row.scroll_into_view_if_needed()
        left = await page.evaluate("scrollY")
        assert left > 1000
        await row.click()
        await expect(page.locator(".said")).to_be_in_viewport()
        await page.go_back()
        await expect(row).to_be_in_viewport()
        assert await page.evaluate("scrollY") == left
        await page.get_by_role("link", name="Operator").click()
        await expect(page.get_by_role("heading", name="Operator", exact=True)).to_be_in_viewport()
        assert await page.evaluate("scrollY") == 0


async def test_who_signs_out_is_signed_out_of_every_tab(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Of one person")
    async with page_of(local_api, browser, DESK) as page:
        other = await page.context.new_page()
        await other.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(other.locator(".said")).to_contain_text("hello")
        await page.get_by_role("button", name="Sign out").click()
        await expect(other.get_by_label("API key")).to_be_visible()
        await expect(other.get_by_text("hello")).to_have_count(0)
        await page.get_by_label("API key").fill(local_api.stack.api_key)
        await page.get_by_role("button", name="Sign in").click()
        await expect(other.locator(".said")).to_contain_text("hello")


async def test_a_list_that_comes_late_hides_no_newer_session(local_api: Api, browser: Browser) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        answer = await route.fetch()
        asked.set()
        await release.wait()
        await route.fulfill(response=answer)

    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/")
        await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
        await page.route("**/api/v1/sessions?*", late)
        await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        await asked.wait()
        await _session(local_api, "Came meanwhile")
        row = page.get_by_role("link", name="Came meanwhile")
        await expect(row).to_be_visible()
        release.set()
        await page.unroute_all(behavior="wait")
        await page.wait_for_timeout(500)
        await expect(row).to_be_visible()


async def test_a_folder_says_what_it_does_not_show(local_api: Api, browser: Browser) -> None:
    session_id = await _session(local_api, "Has many files")
    odd = {"name": "\ufffd", "encoded": "%FF", "type": "file", "size": 1, "modified": 0}
    listing = {"path": "", "entries": [odd, {"name": "plain", "type": "file", "size": 1, "modified": 0}], "next": "x"}
    async with page_of(local_api, browser, DESK) as page:
        await page.route(f"**{SESSIONS}/{session_id}/files/", lambda route: route.fulfill(json=listing))
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/files")
        files = page.get_by_role("region", name="Files")
        await expect(files.get_by_text("Only the first 2 are listed")).to_be_visible()
        await expect(files.get_by_role("button", name="\ufffd")).to_be_disabled()
        await expect(files.get_by_role("button", name="plain")).to_be_enabled()
