"""What the operator's page changes, the timeline of a session, pictures of the workspace, and sub-agents."""

import base64
from pathlib import Path

from playwright.async_api import Browser, expect

from tests.support.browsing import DESK, PHONE, confirm, page_of, picture, violations
from tests.support.stack_client import SESSIONS, Api

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def test_keys_drain_audit_and_the_credential(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser, DESK) as page:
        await page.get_by_role("link", name="Operator").click()
        await page.get_by_role("button", name="Check the model's credential").click()
        await expect(page.get_by_text("accepts the credential")).to_be_visible()
        await expect(page.get_by_role("row", name="Slots")).to_contain_text("in use")
        await expect(page.get_by_role("row", name="Loops")).to_contain_text("run")

        keys = page.get_by_role("region", name="Keys")
        await keys.get_by_label("Name").fill("pipeline")
        await keys.get_by_label("Role").select_option("readonly")
        await keys.get_by_role("button", name="Make a key").click()
        text = await keys.locator(".secret").inner_text()
        with_it = {"X-API-Key": text}
        assert (await local_api.http.get("/api/v1/me", headers=with_it)).json()["role"] == "readonly"
        await keys.get_by_role("button", name="Replace the key of pipeline").click()
        await confirm(page, "Replace")
        await expect(keys.locator(".secret")).not_to_have_text(text)
        fresh = {"X-API-Key": await keys.locator(".secret").inner_text()}
        assert (await local_api.http.get("/api/v1/me", headers=fresh)).status_code == 200
        await keys.get_by_role("button", name="Revoke the key of pipeline").click()
        await confirm(page, "Revoke")
        await expect(keys.get_by_text("pipeline")).to_have_count(0)
        assert (await local_api.http.get("/api/v1/me", headers=fresh)).status_code == 401
        await expect(keys.get_by_role("button", name="Revoke the key of from JELMORE_API_KEY")).to_have_count(0)

        await page.get_by_role("button", name="Drain", exact=True).click()
        await confirm(page, "Drain")
        await expect(page.get_by_text("Nothing new is accepted")).to_be_visible()
        assert (await local_api.http.post(SESSIONS, json={})).status_code == 503
        await page.get_by_role("button", name="Accept again").click()
        await expect(page.get_by_text("New sessions and prompts are accepted.")).to_be_visible()

        await page.get_by_role("button", name="Last hour").click()
        entries = page.get_by_role("region", name="Entries")
        await expect(entries.get_by_role("cell", name="undo_drain")).to_be_visible()
        await expect(entries.get_by_role("cell", name="revoke_key").first).to_be_visible()
        await page.get_by_role("button", name="Show what would be removed").click()
        await expect(page.get_by_text("nothing was removed")).to_be_visible()
        assert await violations(page) == []
        await picture(page, "operator-all-desk-light")


async def test_whose_a_key_is_and_whom_it_acts_for(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/operator")
        keys = page.get_by_role("region", name="Keys")
        await keys.get_by_label("Name").fill("of ann")
        await keys.get_by_role("textbox", name="User").fill("ann")
        await expect(keys.get_by_label("Its sessions may use")).to_be_disabled()
        await keys.get_by_role("button", name="Make a key").click()
        row = keys.get_by_role("listitem").filter(has_text="of ann")
        await expect(row).to_contain_text("user ann")
        await keys.get_by_label("Name").fill("service")
        await keys.get_by_label("Its sessions may use").check()
        await keys.get_by_role("button", name="Make a key").click()
        service = keys.get_by_role("listitem").filter(has_text="service")
        await expect(service).to_contain_text("acts for every user")
        assert await violations(page) == []
        await picture(page, "keys-phone-light")
        listed = (await local_api.http.get("/api/v1/admin/keys")).json()
        made = {each["name"]: each for each in listed}
        assert (made["of ann"]["user_id"], made["of ann"]["act_as"], made["service"]["act_as"]) == ("ann", False, True)
        await service.get_by_role("button", name="service acts for every user").click()
        await expect(service).not_to_contain_text("acts for every user")
        await expect(row.get_by_role("button", name="acts for every user")).to_have_count(0)
        await keys.get_by_label("Role").select_option("readonly")
        await expect(keys.get_by_role("textbox", name="User")).to_have_count(0)
        listed = (await local_api.http.get("/api/v1/admin/keys")).json()
        assert not any(each["act_as"] for each in listed)
        for name in ("of ann", "service"):
            await local_api.http.delete(f"/api/v1/admin/keys/{made[name]['id']}")


async def test_what_happened_around_a_session(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> say hello"))["id"]
    await local_api.until(session_id, waiting_for="prompt")
    async with page_of(local_api, browser, PHONE, "dark") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/events")
        timeline = page.get_by_role("region", name="Events")
        await expect(timeline.get_by_text("session.created")).to_be_visible()
        await expect(timeline.get_by_text("output.received")).to_have_count(0)
        await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"title": "Renamed"})
        await expect(timeline.get_by_role("listitem").first).to_contain_text("session.changed")
        await timeline.get_by_label("Also each output").check()
        await expect(timeline.get_by_text("output.received").first).to_be_visible()
        assert await violations(page) == []
        await picture(page, "timeline-phone-dark")


async def test_older_events_stay_while_newer_come(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> say hello"))["id"]
    await local_api.until(session_id, waiting_for="prompt")
    for count in range(220):
        await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"title": f"Name {count}"})
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/events")
        timeline = page.get_by_role("region", name="Events")
        await expect(timeline.get_by_text("session.changed").first).to_be_visible()
        await expect(timeline.get_by_text("session.created")).to_have_count(0)
        await timeline.get_by_role("button", name="Older events").click()
        await expect(timeline.get_by_text("session.created")).to_have_count(1)
        entries = await timeline.get_by_role("listitem").count()
        await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"title": "The newest"})
        await expect(timeline.get_by_role("listitem")).to_have_count(entries + 1)
        await expect(timeline.get_by_text("session.created")).to_have_count(1)


async def test_a_picture_of_the_workspace_is_shown(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    session_id = (await local_api.create())["id"]
    for name, content in (("dot.png", PNG), ("broken.png", b"no picture"), ("page.svg", b"<svg onload='x'/>")):
        await local_api.http.put(f"{SESSIONS}/{session_id}/files/{name}", content=content)
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/files")
        await page.get_by_role("button", name="dot.png").click()
        await expect(page.get_by_role("img", name="dot.png")).to_be_visible()
        assert await page.evaluate("document.querySelector('.viewed').naturalWidth") == 1
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="broken.png").click()
        await expect(page.get_by_text("no picture that the browser can show")).to_be_visible()
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="page.svg").click()
        await expect(page.locator("pre.code")).to_contain_text("<svg")  # a document of the agent stays a text


SUB_AGENTS = """async (uses) => {
    const { Rows } = await import("/ui/js/transcript.js");
    const rows = new Rows();
    rows.add(uses.map(([id, parent, input], index) => (
        { seq: index + 1, kind: "tool_used", data: { tool_use_id: id, tool: "T", input, parent_tool_use_id: parent } }
    )));
    return rows.list.map((row) => row.agent ?? null);
}"""
USES = [
    ["a", None, {"subagent_type": "explorer", "description": "find it"}],
    ["b", None, {"description": "second"}],
    ["c", "a", {}],
    ["d", "a", {}],
    ["e", "b", {}],
    ["f", "a", {}],
    ["g", "gone", {}],
    ["h", None, {}],
]


async def test_rows_of_a_sub_agent_say_whose_they_are(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser, DESK) as page:
        agents = await page.evaluate(SUB_AGENTS, USES)
    assert agents == [None, None, "explorer: find it", None, "second", "explorer: find it", "Sub-agent", None]
