"""Pages of the dashboard in a real browser: what its tests share."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    ViewportSize,
    async_playwright,
    expect,
)

from tests.support.stack_client import Api

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
]
DESK, TABLET, PHONE = (
    ViewportSize(width=1440, height=900),
    ViewportSize(width=820, height=1180),
    ViewportSize(width=390, height=844),
)
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_AXE = """rules => {
    // What is under a bar that stays in its place is whole once one scrolls.
    const covered = (node) => node.any.some((check) => /obscured/i.test(check.data?.messageKey));
    const nodes = (each) => each.nodes.filter((node) => each.id !== "target-size" || !covered(node));
    return axe.run(document, {resultTypes: ["violations"], runOnly: rules}).then(({violations}) => violations
        .map((each) => [each.id, each.help, nodes(each).map(node => node.html.slice(0, 200))])
        .filter(([, , found]) => found.length));
}"""
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)  # a busy machine takes longer than the five seconds of the library


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Yield Debian's Chromium."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        await found.close()


@asynccontextmanager
async def profile_of(bus: str) -> AsyncIterator[BrowserContext]:
    """Yield a browser's lasting profile, as a person's is, on a desktop with this D-Bus."""
    with tempfile.TemporaryDirectory() as folder:
        async with async_playwright() as playwright:
            found = await playwright.chromium.launch_persistent_context(
                folder, executable_path=CHROMIUM, args=QUIET, env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": bus}
            )
            yield found
            await found.close()


@asynccontextmanager
async def page_of(
    api: Api,
    browser: Browser | BrowserContext,
    size: ViewportSize = DESK,
    scheme: str = "light",
    *,
    signed_in: bool = True,
    touch: bool = False,
    refused: str = "401",
) -> AsyncIterator[Page]:
    """Yield a page of a new profile, or of the given one; see afterwards that it broke nothing and asked no other host.

    `touch`: of a device without a mouse. `refused` is the status of answers that may be errors: the first question of a
    page is who is signed in.
    """
    context = (
        browser
        if isinstance(browser, BrowserContext)
        else await browser.new_context(
            viewport=size, color_scheme="dark" if scheme == "dark" else "light", has_touch=touch, is_mobile=touch
        )
    )
    page = await context.new_page()
    faults: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        # Networks of containers come and go with the tests beside this one.
        known = ("401", refused, "net::ERR_NETWORK_CHANGED")
        if message.type == "error" and not any(each in message.text for each in known):
            faults.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((api.stack.url, "data:", "blob:")):
            faults.append(f"asked {request.url}")

    def on_dialog(dialog: Dialog) -> None:
        faults.append(f"the browser's own dialog: {dialog.message}")

    page.on("console", on_console)
    page.on("dialog", on_dialog)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", on_request)
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(api.stack.url)
    if signed_in:
        await page.get_by_label("API key").fill(api.stack.api_key)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("link", name="Jelmore")).to_be_visible()
    yield page
    assert faults == []
    await (page if context is browser else context).close()


async def confirm(page: Page, act: str) -> None:
    """Press the button `act` of the page's own question."""
    question = page.get_by_role("alertdialog")
    await question.get_by_role("button", name=act, exact=True).click()
    await expect(question).to_have_count(0)


async def picture(page: Page, name: str) -> None:
    """Keep a screenshot where SCREENSHOTS says."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def violations(page: Page) -> list[Any]:
    """Return what axe finds on the page against WCAG 2.2 AA and its best practices."""
    await page.evaluate(AXE_SCRIPT)
    found: list[Any] = await page.evaluate(_AXE, _RULES)
    return found
