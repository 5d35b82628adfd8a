"""Permissions and questions as people answer them, with the real Claude Code."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runner.harness import Client, Runner
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RULE: dict[str, Any] = {
    "type": "addRules",
    "behavior": "allow",
    "destination": "userSettings",
    "rules": [{"toolName": "Bash", "ruleContent": "touch:*"}],
}


async def asked(client: Client, input_id: str, text: str, kind: str = "permission_requested") -> dict[str, Any]:
    """Send an input and return the request that its turn makes."""
    await client.send(type="input", id=input_id, input=text)
    return dict((await client.until_event(kind))["data"])


def requests(client: Client) -> int:
    return sum(event["kind"] in {"permission_requested", "question"} for event in client.events)


async def test_an_allow_can_be_remembered_for_the_session(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        first = await asked(client, "one", "demo> run touch remembered")
        assert {update["type"] for update in first["suggestions"]} >= {"addRules", "setMode"}
        assert first["preview"] == {"kind": "command", "text": "touch remembered", "path": None, "truncated": False}
        answer = {"request_id": first["request_id"], "decision": "allow", "remember": "session"}
        await client.send(type="permission", id="a", **answer)
        resolved = (await client.until_event("permission_resolved"))["data"]
        await client.until_result("one")
        await client.send(type="input", id="two", input="demo> run touch remembered")
        await client.until_result("two")
        assert requests(client) == 1, "the same command is not asked for again"
        await asked(client, "three", "demo> write other.txt no mode was changed")
    assert (resolved["by"], resolved["remember"]) == ("tester", "session")
    applied = resolved["updated_permissions"]
    assert [update["type"] for update in applied] == ["addRules"], "only the rule: the mode would allow more"
    assert applied[0]["destination"] == "session"
    assert not (runner.folder / "session/workspace/.claude/settings.local.json").exists()


async def test_an_edited_suggestion_is_applied_and_a_malformed_one_refused(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        first = await asked(client, "one", "demo> run touch one")
        path = f"/permissions/{first['request_id']}"
        wide = {**RULE, "rules": [{"toolName": "Bash", "rulecontent": "touch:*"}]}
        refused = await runner.call(path, {"decision": "allow", "updated_permissions": [RULE, wide]})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_frame")
        assert "rulecontent" in refused.json()["message"]
        assert (await runner.call(path, {"decision": "deny", "remember": "session"})).status_code == 422
        answer = {"decision": "allow", "updated_permissions": [RULE], "by": "ada"}
        assert (await runner.call(path, answer)).status_code == 200
        late = await runner.call(path, {"decision": "deny"})
        assert (late.status_code, late.json()["message"]) == (409, "ada has answered it")
        await client.until_result("one")
        await client.send(type="input", id="two", input="demo> run touch two")
        await client.until_result("two")
        assert requests(client) == 1
    assert (runner.folder / "session/workspace/two").exists()


async def test_a_deny_can_end_the_turn(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        first = await asked(client, "one", "demo> run touch no\ndemo> say went on")
        answer = {"request_id": first["request_id"], "decision": "deny", "message": "stop here", "interrupt": True}
        await client.send(type="permission", **answer)
        resolved = (await client.until_event("permission_resolved"))["data"]
        assert (resolved["message"], resolved["interrupt"]) == ("stop here", True)
        await client.until_event("turn_ended", input_id="one")
        await client.until_event("state", waiting_for="prompt")
        await client.send(type="input", id="two", input="still there?")
        assert "still there?" in (await client.until_result("two"))["result"]
    assert "went on" not in runner.journal.read_text().split('"input_id":"two"')[0].split("permission_resolved")[1]


async def test_the_preview_of_an_edit_is_a_diff(runner: Runner) -> None:
    await runner.begin(options={"permission_mode": "acceptEdits"})
    async with runner.open() as client:
        await client.send(type="input", id="w", input="demo> write a.txt one two\ndemo> read a.txt")
        await client.until_result("w")
        await runner.call("/permission-mode", {"value": "default"})
        edit = await asked(client, "e", "demo> edit a.txt | two | three")
        path = str(runner.folder / "session/workspace/a.txt")
        assert edit["preview"]["path"] == path
        assert edit["preview"]["text"] == "@@ -1,1 +1,1 @@\n-one two\n+one three"
        await runner.call(f"/permissions/{edit['request_id']}", {"decision": "allow"})
        await client.until_result("e")
    assert (runner.folder / "session/workspace/a.txt").read_text() == "one three"


async def test_a_question_takes_several_answers_and_free_text(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        one = await asked(client, "one", "demo> ask Which colour? | Red | Blue", "question")
        path = f"/permissions/{one['request_id']}"
        wrong = await runner.call(path, {"decision": "allow", "answers": {"Which colour?": ["Red", "Blue"]}})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_frame")
        own = {"decision": "allow", "answers": {"Which colour?": "a deep violet"}}
        assert (await runner.call(path, own)).status_code == 200
        assert "a deep violet" in (await client.until_result("one"))["result"]
        many = await asked(client, "two", "demo> choose Which ones? | Red | Blue | Green", "question")
        chosen = {"decision": "allow", "answers": {"Which ones?": ["Red", "Green"]}}
        assert (await runner.call(f"/permissions/{many['request_id']}", chosen)).status_code == 200
        assert "Red, Green" in (await client.until_result("two"))["result"]
        free = await asked(client, "three", "demo> ask Which size? | S | L", "question")
        said = {"decision": "allow", "message": "measure it first"}
        assert (await runner.call(f"/permissions/{free['request_id']}", said)).status_code == 200
        assert "measure it first" in (await client.until_result("three"))["result"]


async def test_a_request_without_an_answer_is_denied_after_the_sessions_time(runner: Runner) -> None:
    await runner.begin(options={"answer_within_s": 1})
    async with runner.open() as client:
        first = await asked(client, "one", "demo> run touch late")
        assert first["expires_at"] is not None
        resolved = (await client.until_event("permission_resolved"))["data"]
        assert (resolved["decision"], resolved["by"], resolved["cause"]) == ("deny", "", "expired")
        assert "Nobody answered" in (await client.until_result("one"))["result"]
        late = await runner.call(f"/permissions/{first['request_id']}", {"decision": "allow"})
        assert late.status_code == 409
    assert not (runner.folder / "session/workspace/late").exists()


async def test_a_plan_is_shown_sent_back_and_accepted(runner: Runner) -> None:
    await runner.begin(options={"permission_mode": "plan"})
    async with runner.open() as client:
        first = await asked(client, "one", "demo> plan 1. write the file")
        assert first["tool"] == "ExitPlanMode"
        assert first["preview"] == {"kind": "plan", "text": "1. write the file", "path": None, "truncated": False}
        denied = {"decision": "deny", "message": "say where"}
        assert (await runner.call(f"/permissions/{first['request_id']}", denied)).status_code == 200
        assert "say where" in (await client.until_result("one"))["result"]
        second = await asked(client, "two", "demo> plan 2. write f.txt\ndemo> write f.txt done")
        mode = {"type": "setMode", "mode": "acceptEdits"}
        accepted = {"decision": "allow", "updated_permissions": [mode]}
        assert (await runner.call(f"/permissions/{second['request_id']}", accepted)).status_code == 200
        await client.until_event("permission_mode_changed", mode="acceptEdits")
        await client.until_result("two")
    assert (runner.folder / "session/workspace/f.txt").read_text() == "done"


@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_an_mcp_server_asks_the_user(runner: Runner, decision: str) -> None:
    server = {"command": sys.executable, "args": [str(Path(__file__).with_name("asking_mcp_server.py"))]}
    await runner.begin(options={"mcp_servers": {"ask": server}, "allowed_tools": ["mcp__ask__order"]})
    async with runner.open() as client:
        first = await asked(client, "one", "demo> tool mcp__ask__order {}", "question")
        assert (first["tool"], first["title"]) == ("Elicitation", "Which size?")
        assert first["input"]["mcp_server_name"] == "ask"
        assert "size" in first["input"]["requested_schema"]["properties"]
        path = f"/permissions/{first['request_id']}"
        for content, problem in (
            ({"size": 5}, "updated_input.size: must be a string"),
            ({}, "updated_input.size: is required"),
        ):
            refused = await runner.call(path, {"decision": "allow", "updated_input": content})
            assert (refused.status_code, refused.json()["message"]) == (422, problem)
        given = {"updated_input": {"size": "XL"}} if decision == "allow" else {}
        assert (await runner.call(path, {"decision": decision, **given})).status_code == 200
        result = (await client.until_result("one"))["result"]
    assert ('"XL"' in result) == (decision == "allow")
    assert ("decline" in result) == (decision == "deny")


async def test_mcp_servers_are_shown_reconnected_and_switched_off(runner: Runner) -> None:
    good = {"command": sys.executable, "args": [str(Path(__file__).with_name("asking_mcp_server.py"))]}
    await runner.begin(options={"mcp_servers": {"ask": good, "lost": {"command": "/nowhere/to/be/found"}}})

    async def states() -> dict[str, str]:
        return {each["name"]: each["status"] for each in (await runner.call("/mcp")).json()["servers"]}

    async def became(wanted: dict[str, str]) -> bool:
        return wanted.items() <= (await states()).items()

    await until(lambda: became({"ask": "connected", "lost": "failed"}), seconds=60)
    assert (await runner.call("/mcp/toggle", {"name": "ask", "enabled": False})).status_code == 200
    await until(lambda: became({"ask": "disabled"}), seconds=60)
    assert (await runner.call("/mcp/toggle", {"name": "ask", "enabled": True})).status_code == 200
    assert (await runner.call("/mcp/reconnect", {"name": "ask"})).status_code == 200
    await until(lambda: became({"ask": "connected"}), seconds=60)
    unknown = await runner.call("/mcp/reconnect", {"name": "nobody"})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "conflict")
