"""What a person gives the agent from a page: answers, a rule for a tool, files, and a repository to begin with."""

import base64
import json
import subprocess
import sys
from pathlib import Path

from playwright.async_api import Browser, Locator, expect

from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.git_server import git_server
from tests.support.stack_client import SESSIONS, Api, eventually, tool_answers

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ASKING_SERVER = Path(__file__).parents[1] / "integration/runner/asking_mcp_server.py"
ROUTE = "/api/v1/admin/routes/git/open"
IDENTITY = "git -c user.name=p -c user.email=p@example.org"
GIVE = """(field, [event, name, type, data]) => {
    const carried = new DataTransfer();
    carried.items.add(new File([Uint8Array.from(atob(data), each => each.charCodeAt(0))], name, {type}));
    const more = {bubbles: true, cancelable: true};
    field.dispatchEvent(event === "paste" ? new ClipboardEvent("paste", {...more, clipboardData: carried})
        : new DragEvent("drop", {...more, dataTransfer: carried}));
}"""


async def test_questions_are_answered_by_choices_and_in_ones_own_words(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> choose Which fruits? | apple | pear | plum"))["id"]
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        card = page.locator("form.ask")
        send = card.get_by_role("button", name="Answer", exact=True)
        await expect(send).to_be_disabled()
        await card.get_by_label("apple").check()
        await card.get_by_label("Another answer").fill("quince")
        await card.get_by_label("plum").check()
        await card.get_by_label("apple").uncheck()
        assert await violations(page) == []
        await picture(page, "question-phone-light")
        await send.click()
        await expect(page.locator(".said").last).to_contain_text("AskUserQuestion answered")
        said = page.locator(".said").last
        await expect(said).to_contain_text("plum")
        await expect(said).to_contain_text("quince")
        await expect(said).not_to_contain_text("apple")
        await expect(card).to_have_count(0)

        await page.get_by_label("Prompt", exact=True).fill("demo> ask Which colour? | red | blue")
        await page.keyboard.press("Enter")
        await card.get_by_label("red").check()
        await card.get_by_label("Another answer").fill("green")
        await expect(card.get_by_label("red")).not_to_be_checked()
        await card.get_by_label("Another answer").fill("")
        await expect(send).to_be_disabled()
        await card.get_by_label("Another answer").fill("a dark green")
        await send.click()
        await expect(said).to_contain_text("a dark green")
        await expect(said).not_to_contain_text('"red"')


FORM = {
    "type": "object",
    "required": ["size", "count", "colours"],
    "properties": {
        "size": {"type": "string", "oneOf": [{"const": "s", "title": "Small"}, {"const": "m", "title": "Medium"}]},
        "count": {"type": "integer", "title": "How many?", "minimum": 1},
        "colours": {"type": "array", "items": {"type": "string", "enum": ["red", "green"]}, "minItems": 1},
        "gift": {"type": "boolean", "title": "A gift"},
        "until": {"type": "string", "format": "date"},
        "note": {"type": "string", "description": "for the parcel"},
        "extras": {"type": "array", "items": {"type": "string", "enum": ["bow"]}, "minItems": 1},  # left out as a whole
    },
}


async def test_the_form_of_an_mcp_server_is_filled_in_and_sent_typed(local_api: Api, browser: Browser) -> None:
    server = {"command": sys.executable, "args": [str(ASKING_SERVER), json.dumps(FORM)]}
    options = {"mcp_servers": {"ask": server}, "allowed_tools": ["mcp__ask__order"]}
    session_id = (await local_api.create("demo> tool mcp__ask__order {}", **options))["id"]
    async with page_of(local_api, browser, PHONE, refused="422") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        card = page.locator("form.ask")
        await expect(card.get_by_text("Which size?")).to_be_visible()
        assert await violations(page) == []
        await picture(page, "form-phone-light")
        await card.get_by_label("size").select_option("Medium")
        await card.get_by_label("How many?").fill("2")
        await card.get_by_label("A gift").check()
        await card.get_by_label("until").fill("2026-11-28")
        await card.get_by_role("button", name="Answer", exact=True).click()
        problem = "updated_input.colours: must have at least 1 of red, green"
        await expect(page.get_by_text(problem).first).to_be_visible()
        await card.get_by_label("green").check()
        await card.get_by_role("button", name="Answer", exact=True).click()
        await expect(card).to_have_count(0)
    await local_api.until(session_id, status="waiting_input", waiting_for="prompt")
    received = json.loads(tool_answers(await local_api.all(session_id, "output"))[-1])
    wanted = {"size": "m", "count": 2, "colours": ["green"], "gift": True, "until": "2026-11-28"}
    assert received == {"action": "accept", "content": wanted}


async def test_a_tool_is_always_allowed_from_the_card(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run touch first"))["id"]
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".ask .hint")).to_contain_text("Always: Bash(touch")
        await page.get_by_role("button", name="Always").click()
        await expect(page.locator(".note.end")).to_have_count(1)
        await page.get_by_label("Prompt", exact=True).fill("demo> run touch first")
        await page.keyboard.press("Enter")
        await expect(page.locator(".note.end")).to_have_count(2)
    asked = [each for each in await local_api.all(session_id, "output") if each["kind"] == "permission_requested"]
    assert len(asked) == 1


async def test_files_are_attached_by_paste_and_by_drop(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        prompt = page.get_by_label("Prompt", exact=True)
        attached = page.get_by_label("Attached files")
        await _give(prompt, "paste", "shot.png", "image/png", PNG)
        await expect(attached).to_contain_text("shot.png")
        await _give(prompt, "drop", "note.txt", "text/plain", base64.b64encode(b"dropped").decode())
        await expect(attached).to_contain_text("note.txt")
        await picture(page, "attached-desk-light")
        await page.get_by_role("button", name="Send").click()  # without a text
        await expect(attached).to_have_count(0)
        await expect(page.locator(".note.end")).to_have_count(1)
        await prompt.evaluate(
            """field => { const carried = new DataTransfer(); carried.setData("text/plain", "words");
            return field.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, cancelable: true,
                clipboardData: carried})); }"""
        )
        await expect(attached).to_have_count(0)  # a text is pasted as text
    sent = next(each for each in await local_api.all(session_id, "output") if each["kind"] == "input")
    assert [each["type"] for each in sent["data"]["content"]] == ["image", "document"]


async def _give(field: Locator, event: str, name: str, media_type: str, data: str) -> None:
    await field.evaluate(GIVE, [event, name, media_type, data])


async def test_a_session_begins_with_a_repository_from_the_form(
    local_api: Api, browser: Browser, tmp_path: Path
) -> None:
    made = "mkdir -p open && cd open && git init -q -b trunk work && cd work && echo hello > README && git add ."
    made += f" && {IDENTITY} commit -q -m one && echo more >> README && {IDENTITY} commit -q -a -m two"
    made += " && cd .. && git clone -q --bare work project.git"
    subprocess.run(made, shell=True, check=True, cwd=tmp_path)  # noqa: ASYNC221 - before anything runs beside it
    async with git_server(tmp_path) as server:
        url = f"{server.url}/open/project.git"
        route = {"url": f"{server.url}/open", "private": True}
        assert (await local_api.http.put(ROUTE, json=route)).status_code == 200

        async def reached() -> bool:
            answer = await local_api.http.post(SESSIONS, json={"repository": {"url": url, "ref": "absent"}})
            return bool(answer.json().get("errors", [{}])[0].get("field") == "repository.ref")

        await eventually(reached, seconds=30, what=lambda: "the route at the gateway")
        async with page_of(local_api, browser, DESK) as page:
            await page.goto(f"{local_api.stack.url}/#/new")
            await page.get_by_label("First prompt").fill("demo> run cat README && git log --oneline | wc -l")
            await page.get_by_text("From a git repository").click()
            await page.get_by_label("URL").fill(url)
            await page.get_by_label("Branch, tag or commit").fill("trunk")
            await page.get_by_label("Commits of history").fill("1")
            await page.get_by_role("button", name="Start").click()
            await expect(page.locator(".said").last).to_contain_text("hello")
            session_id = page.url.rpartition("/")[2]
        assert (await local_api.get(session_id))["repository"]["branch"] == "trunk"
        assert tool_answers(await local_api.all(session_id, "output"))[0].split() == ["hello", "more", "1"]
        assert (await local_api.http.delete(ROUTE)).status_code == 204
