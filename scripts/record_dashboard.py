"""Take the picture of the README: the dashboard of a running Jelmore, in light and in dark.

Start `make run` in another terminal, then, in the same directory, with Debian's package `chromium`:
`. .jelmore/env && .venv/bin/python scripts/record_dashboard.py`. It writes docs/dashboard-light.webp and
docs/dashboard-dark.webp, and ends its sessions.
"""

import base64
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from jelmore_client import Jelmore, Session

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
SIZE: Final = ViewportSize(width=1040, height=820)
QUALITY: Final = 72
DEADLINE_S: Final = 60.0

DONE: Final = (
    "demo> write notes.md The last line was dropped.\ndemo> say The parser dropped a last line without a newline."
)
WAITING: Final = "demo> run python -m pytest -q tests/test_parser.py"
OTHER: Final = "demo> say Three fixes and a release."


def wait(session: Session, *states: str) -> None:
    """Return when the session waits for one of the states. Raises TimeoutError."""
    deadline = time.monotonic() + DEADLINE_S
    while session.refresh().waiting_for not in states:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{session.info.title}: it does not wait for {' or '.join(states)}")
        time.sleep(0.2)


@contextmanager
def sessions(client: Jelmore) -> Iterator[Session]:
    """Yield the session of the picture, which waits for a permission, beside another one. They end with the block."""
    with ExitStack() as stack:
        other = stack.enter_context(client.sessions.create(OTHER, title="Summarise the week"))
        wait(other, "prompt")
        shown = stack.enter_context(client.sessions.create(DONE, title="Fix the parser", permission_mode="acceptEdits"))
        wait(shown, "prompt")
        shown.send(WAITING)
        wait(shown, "permission")
        yield shown


def take(browser: Browser, client: Jelmore, session: Session, scheme: str) -> bytes:
    """Return the picture of the session's page as WebP."""
    page = browser.new_page(viewport=SIZE, color_scheme="dark" if scheme == "dark" else "light")
    page.goto(client.url)
    page.get_by_label("API key").fill(os.environ["JELMORE_API_KEY"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.goto(f"{client.url.rstrip('/')}/#/s/{session.id}")
    page.get_by_role("button", name="Allow", exact=False).first.wait_for()
    page.wait_for_timeout(1500)
    devtools = page.context.new_cdp_session(page)
    taken = devtools.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    page.close()
    return base64.b64decode(taken["data"])


def main() -> int:
    """Take both pictures."""
    chromium = shutil.which("chromium")
    if chromium is None or not os.environ.get("JELMORE_API_KEY"):
        print("this needs chromium, and the key of a running server: . .jelmore/env", file=sys.stderr)
        return 2
    with Jelmore() as client, sessions(client) as shown, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            (DOCS / f"dashboard-{scheme}.webp").write_bytes(take(browser, client, shown, scheme))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
