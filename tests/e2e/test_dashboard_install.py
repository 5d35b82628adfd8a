"""The dashboard as an installed app: its own files are kept for when the server is away, and nothing else."""

from playwright.async_api import Browser, Page, expect

from tests.support.browsing import page_of
from tests.support.stack_client import Api

KEPT = """async () => {
    const found = [];
    for (const name of await caches.keys()) {
        for (const request of await (await caches.open(name)).keys()) found.push(new URL(request.url).pathname);
    }
    return found.sort();
}"""
SPOIL = """async () => {
    await caches.open("jelmore-of-an-older-version");
    for (const name of await caches.keys()) {
        const kept = await caches.open(name);
        for (const request of await kept.keys()) await kept.put(request, new Response("stale"));
    }
}"""


async def _controlled(page: Page) -> None:
    await page.wait_for_function("() => navigator.serviceWorker.controller !== null")


async def test_the_page_opens_without_its_server_and_goes_on_with_it(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser, refused="ERR_INTERNET_DISCONNECTED") as page:
        await _controlled(page)
        session = await local_api.create("demo> say hello", title="Seen later")
        await expect(page.get_by_text("Seen later")).to_be_visible()
        kept = await page.evaluate(KEPT)
        assert "/" in kept
        assert "/ui/js/main.js" in kept
        assert [path for path in kept if path != "/" and not path.startswith("/ui/")] == []
        await page.context.set_offline(offline=True)
        await page.reload()
        await expect(page.get_by_text("The server does not answer")).to_be_visible()
        assert await page.get_by_text("Seen later").count() == 0  # no answer of the API was kept
        await page.context.set_offline(offline=False)
        await page.get_by_role("link", name="Seen later").click()
        await expect(page).to_have_url(f"{local_api.stack.url}/#/s/{session['id']}")
        assert await page.evaluate(KEPT) == kept


async def test_an_older_shell_is_never_shown_while_the_server_answers(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser) as page:
        await _controlled(page)
        await page.evaluate(SPOIL)
        await page.reload()
        await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
        assert "stale" not in await page.evaluate("fetch('/ui/js/main.js').then(answer => answer.text())")
        await page.evaluate("navigator.serviceWorker.getRegistration().then(found => found.unregister())")
        await page.reload()
        await _controlled(page)
        await page.wait_for_function("() => caches.keys().then(names => names.length === 1)")


async def test_the_browser_would_install_it(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser) as page:
        await _controlled(page)
        devtools = await page.context.new_cdp_session(page)
        found = await devtools.send("Page.getInstallabilityErrors")
        kinds = {each["errorId"] for each in found["installabilityErrors"]}
        assert kinds <= {"in-incognito"}  # profiles of tests are such
        manifest = await devtools.send("Page.getAppManifest")
        assert manifest["errors"] == []
