"""What a terminal's page does with hostile output, replays, many watchers, and the end of its session."""

import re
from contextlib import suppress

from playwright.async_api import Browser, Page, expect

from tests.e2e.test_dashboard_terminal import opened, run
from tests.support.browsing import DESK, PHONE, page_of
from tests.support.stack_client import Api

ANY_STATUS = "Failed to load resource"
PASTE = """(text) => {
    const carried = new DataTransfer();
    carried.setData("text/plain", text);
    document.querySelector(".xterm-helper-textarea").dispatchEvent(
        new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true}));
}"""
CTRL = """([key, code]) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", {key, code, ctrlKey: true, bubbles: true, cancelable: true}))"""
BUSY_LINK = """async () => {
    const { TerminalLink } = await import("/ui/js/terminal_link.js");
    const nothing = () => {};
    const on = {write: (bytes, done) => done(), gap: nothing, skipped: nothing, changed: nothing, size: () => ({})};
    window.busy = new TerminalLink("x", on);
    busy.learn({type: "opened", new: false, gap: false, instance: "i", position: 0, writer: true, by: "me"});
    setInterval(() => busy.take(new Uint8Array(1)), 100);
}"""
SIZES = 40


async def test_the_keyboard_alone_gets_in_and_out(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await opened(local_api, page, session_id)
        await run(page, "echo in=$((40 + 2))")
        await expect(page.locator(".xterm-rows")).to_contain_text("in=42")
        await page.keyboard.press("Tab")  # the shell's
        await page.keyboard.press("Control+m")
        assert await page.evaluate("document.activeElement.id") == "back"
        await page.keyboard.press("Tab")
        await run(page, "echo again=$((40 + 3))")
        await expect(page.locator(".xterm-rows")).to_contain_text("again=43")
        await page.keyboard.press("Control+m")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{local_api.stack.url}/#/s/{session_id}")


async def test_the_way_out_is_the_letter_on_every_keyboard(local_api: Api, browser: Browser) -> None:
    """On a French keyboard the letter M is elsewhere; a Russian one has another letter in its place."""
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await opened(local_api, page, session_id)
        for key, code, leaves in (("m", "Semicolon", True), (",", "KeyM", False), ("\u044c", "KeyM", True)):
            await page.locator(".xterm-helper-textarea").focus()
            await page.evaluate(CTRL, [key, code])
            assert (await page.evaluate("document.activeElement.id") == "back") is leaves, key


async def test_a_question_to_the_terminal_is_answered_once(local_api: Api, browser: Browser) -> None:
    """Neither a replay nor the screen of somebody who looks on types an answer into the shell."""
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page, page_of(local_api, browser, PHONE) as other:
        await opened(local_api, page, session_id)
        await opened(local_api, other, session_id)
        await run(page, r"clear; printf '\033[c\033]11;?\007'; cat -v")
        screen = page.locator(".xterm-rows")
        await expect(screen).to_contain_text("?1;2c")  # as the terminal echoes what is typed
        for _ in range(2):
            await page.wait_for_timeout(1500)
            text = await screen.inner_text()
            assert (text.count("?1;2c"), text.count("]11;rgb:")) == (1, 1)
            await page.reload()
            await expect(page.get_by_role("status")).to_contain_text("type")
        await page.goto("about:blank")
        await expect(other.get_by_role("status")).to_have_text("Nobody types.")
        await other.evaluate("document.querySelector('.xterm-helper-textarea').blur()")
        await other.evaluate("document.querySelector('.xterm-helper-textarea').focus()")
        await expect(other.get_by_role("status")).to_have_text("Nobody types.")


async def test_output_that_never_pauses_does_not_silence_the_terminal(local_api: Api, browser: Browser) -> None:
    """As a progress indicator that runs while the page is opened again."""
    async with page_of(local_api, browser, DESK) as page:
        await page.clock.install()
        await page.evaluate(BUSY_LINK)
        await page.clock.run_for(5_000)
        assert not await page.evaluate("busy.answers")
        await page.clock.run_for(8_000)
        assert await page.evaluate("busy.answers")


async def test_hostile_output_reaches_nothing_but_the_screen(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=local_api.stack.url)
        await opened(local_api, page, session_id)
        await page.evaluate("navigator.clipboard.writeText('mine')")
        title, address = await page.title(), page.url
        await run(
            page,
            r"printf '\033]0;evil\007\033]2;evil\007\033]52;c;ZXZpbA==\007\033[21t'; "
            r"printf '\033]8;;javascript:alert(1)\007link\033]8;;\007\n'",
        )
        await run(
            page, r"printf '\342\202'; sleep 0.5; printf '\254 <img src=x onerror=alert(1)> \033[3J\n'; echo do''ne"
        )
        await expect(page.locator(".xterm-rows")).to_contain_text("€ <img src=x onerror=alert(1)>")
        await expect(page.locator(".xterm-rows")).to_contain_text("done")
        await page.locator(".xterm-rows").get_by_text("link").last.click(force=True)
        assert await page.evaluate("navigator.clipboard.readText()") == "mine"
        assert (await page.title(), page.url) == (title, address)
        assert len(page.context.pages) == 1
        assert await page.locator("main img").count() == 0


async def test_a_paste_stays_one_even_if_it_says_that_it_ends(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await opened(local_api, page, session_id)
        await run(page, r"printf '\033[?2004h'; cat -v")
        await page.wait_for_timeout(500)
        await page.evaluate(PASTE, "one\x1b[201~two\n")
        await page.keyboard.press("Enter")
        await expect(page.locator(".xterm-rows")).to_contain_text("^[[200~one")
        await expect(page.locator(".xterm-rows")).to_contain_text("[201~two")
        assert "^[[201~two" not in await page.locator(".xterm-rows").inner_text()


async def test_a_full_screen_comes_back_after_a_reload_and_a_storm_of_sizes(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await opened(local_api, page, session_id)
        await run(page, "seq 1 2000 > numbers; less -S numbers")
        screen = page.locator(".xterm-rows")
        await expect(screen).to_contain_text("17")
        await page.keyboard.type("G")
        await expect(screen).to_contain_text("2000")
        for step in range(SIZES):
            await page.set_viewport_size({"width": 700 + 10 * (step % 9), "height": 400 + 7 * step})
        await _shows(page, "g", "1234567")
        await _shows(page, "G", "2000")
        await page.reload()
        await expect(screen).to_contain_text("2000")
        await expect(screen).not_to_contain_text("less -S")
        await page.keyboard.type("q")
        await expect(screen).to_contain_text("less -S")
        rows, columns = (await _size(page)).split()
        assert await page.evaluate("document.querySelectorAll('.xterm-rows > div').length") == int(rows)
        assert int(columns) > 40


async def _shows(page: Page, key: str, wanted: str) -> None:
    """Type a key until the screen shows it: `less` drops what is typed while it draws at a new size."""
    for _ in range(10):
        await page.keyboard.type(key)
        with suppress(AssertionError):
            return await expect(page.locator(".xterm-rows")).to_contain_text(wanted, timeout=3000)
    raise AssertionError(f"{wanted!r} is not shown after {key!r}")


async def _size(page: Page) -> str:
    await run(page, "clear; stty size | sed 's/^/size=/'")
    await expect(page.locator(".xterm-rows")).to_contain_text(re.compile(r"size=\d+ \d+"))
    found = re.search(r"size=(\d+ \d+)", await page.locator(".xterm-rows").inner_text())
    assert found
    return found[1]


async def test_ten_megabytes_are_followed_by_one_who_types_and_one_who_is_slow(
    local_api: Api, browser: Browser
) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page, page_of(local_api, browser, PHONE) as slow:
        await opened(local_api, page, session_id)
        await opened(local_api, slow, session_id)
        tools = await slow.context.new_cdp_session(slow)
        await tools.send("Emulation.setCPUThrottlingRate", {"rate": 10})
        await run(page, "head -c 7500000 /dev/zero | base64 -w 99; echo at the e''nd")
        await expect(page.locator(".xterm-rows")).to_contain_text("at the end", timeout=60_000)
        await expect(slow.locator(".xterm-rows")).to_contain_text("at the end", timeout=60_000)
        await tools.send("Emulation.setCPUThrottlingRate", {"rate": 1})


async def test_two_who_take_the_keyboard_at_once_agree_who_has_it(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    made = (await local_api.http.post("/api/v1/admin/keys", json={"name": "Bob Bauer", "role": "admin"})).json()
    async with page_of(local_api, browser, DESK) as one, page_of(local_api, browser, DESK, signed_in=False) as two:
        await two.get_by_label("API key").fill(made["key"])
        await two.get_by_role("button", name="Sign in").click()
        await expect(two.get_by_role("link", name="Jelmore")).to_be_visible()
        await opened(local_api, one, session_id)
        await opened(local_api, two, session_id)
        take = "document.getElementById('act').click()"
        for _ in range(10):
            await one.evaluate(take)
            await two.evaluate(take)
            await one.evaluate(take)
        await one.wait_for_timeout(1000)
        typing = [await page.get_by_role("status").inner_text() for page in (one, two)]
        assert sum(text.startswith("You type") for text in typing) == 1, typing
        looks_on = one if typing[1].startswith("You type") else two
        assert await looks_on.get_by_role("button", name="Take the keyboard").is_visible()
        if looks_on is one:  # whose key has a name that is known to who takes part
            assert not typing[0].startswith("key_")


async def test_a_session_that_ends_or_sleeps_says_so_on_an_open_screen(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    made = (await local_api.http.post("/api/v1/admin/keys", json={"name": "Looks", "role": "readonly"})).json()
    async with (
        page_of(local_api, browser, DESK, refused=ANY_STATUS) as page,
        page_of(local_api, browser, PHONE, signed_in=False, touch=True) as reader,
    ):
        await reader.get_by_label("API key").fill(made["key"])
        await reader.get_by_role("button", name="Sign in").click()
        await expect(reader.get_by_role("link", name="Jelmore")).to_be_visible()
        await reader.goto(f"{local_api.stack.url}/ui/terminal.html#{session_id}")
        await expect(reader.get_by_role("status")).to_have_text("Nobody has opened a terminal in this session.")
        await opened(local_api, page, session_id)
        await reader.reload()
        await expect(reader.get_by_role("status")).to_contain_text("types.")
        await expect(reader.get_by_role("navigation", name="Keys")).to_be_hidden()
        await reader.locator(".xterm").tap()
        await reader.keyboard.type("echo not''-typed\n")
        await run(page, "echo typ''ed")
        await expect(reader.locator(".xterm-rows")).to_contain_text("typed")
        await expect(page.locator(".xterm-rows")).not_to_contain_text("not-typed")
        await local_api.delete(session_id)
        for each in (page, reader):
            await expect(each.get_by_role("status")).to_have_text(
                re.compile("The session has ended|The shell has ended")
            )
