"""Options of the agent and remembered answers, in the real sandbox."""

from tests.support.stack_client import Api

COMMAND = "mkdir -p .claude/commands && printf 'demo> say hi $ARGUMENTS from greet' > .claude/commands/greet.md"


async def test_a_repositorys_command_runs_after_a_change_that_restarts_the_agent(api: Api) -> None:
    created = await api.create(allowed_tools=["Bash"], env={"APP_MODE": "seen"})
    session_id = created["id"]
    stopped = (await api.post(session_id, "/input?wait=60", {"input": f"demo> run {COMMAND}"})).json()
    assert ".claude" in stopped["pending"]["reason"], "settings of the agent are asked for even if Bash is allowed"
    path = f"/permissions/{stopped['pending']['request_id']}"
    assert (await api.post(session_id, path, {"decision": "allow"})).status_code == 200
    await api.until(session_id, status="waiting_input", waiting_for="prompt")
    assert "mode=seen" in str(await api.ask(session_id, "demo> run echo mode=$APP_MODE"))
    await api.until(session_id, status="waiting_input")  # Claude Code is idle a moment after its result
    changed = await api.http.patch(f"/api/v1/sessions/{session_id}", json={"disallowed_tools": ["WebFetch"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["restarted_for"] == ["disallowed_tools"]
    assert changed.json()["generation"] == 2
    commands = (await api.get(session_id, "/commands"))["commands"]
    assert "greet" in {each["name"] for each in commands}
    answer = await api.post(session_id, "/input?wait=60", {"input": "/greet you", "expand": True})
    assert answer.status_code == 200, answer.text
    assert "hi you from greet" in str(answer.json()["result"])


async def test_a_turn_that_stops_for_a_permission_answers_at_once_and_is_remembered(api: Api) -> None:
    session_id = (await api.create())["id"]
    stopped = (await api.post(session_id, "/input?wait=60", {"input": "demo> run touch one"})).json()
    assert stopped["waiting_for"] == "permission"
    assert stopped["pending"]["preview"]["text"] == "touch one"
    rule = {"type": "addRules", "behavior": "allow", "rules": [{"toolName": "Bash", "ruleContent": "touch:*"}]}
    path = f"/permissions/{stopped['pending']['request_id']}"
    answered = await api.post(session_id, path, {"decision": "allow", "updated_permissions": [rule]})
    assert answered.status_code == 200, answered.text
    await api.until(session_id, status="waiting_input", waiting_for="prompt")
    assert (await api.ask(session_id, "demo> run touch two"))["is_error"] is False
