"""Every option arrives at the real Claude Code: in its arguments, its own report, or its request to the model."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runner.harness import Client, Runner
from tests.integration.runner.recording_model import RecordingModel

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("model")]

HOOK = {"matcher": "*", "hooks": [{"type": "command", "command": "touch $CLAUDE_PROJECT_DIR/hook-ran"}]}
REPOSITORY: dict[str, str] = {
    "CLAUDE.md": "REPOSITORY-INSTRUCTION-77",
    ".claude/settings.json": json.dumps(
        {
            "permissions": {"allow": ["Bash(touch:*)"]},
            "hooks": {"PreToolUse": [HOOK]},
            "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "OF_THE_REPOSITORY": "yes"},
        }
    ),
    ".claude/commands/greet.md": "demo> say hello $ARGUMENTS from a command",
    ".claude/agents/reviewer.md": "---\nname: reviewer\ndescription: reviews\n---\nYou review.",
    ".claude/skills/painting/SKILL.md": "---\nname: painting\ndescription: paints houses\n---\nPaint it.",
}


def workspace(runner: Runner, files: dict[str, str]) -> Path:
    folder = runner.folder / "session" / "workspace"
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


async def arguments(runner: Runner) -> list[str]:
    """Return the arguments of the running Claude Code."""
    pid = (await runner.health())["agent_pid"]
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def run(client: Client, text: str, input_id: str = "one", **more: Any) -> dict[str, Any]:
    """Send an input and return the result of its turn."""
    await client.send(type="input", id=input_id, input=text, **more)
    return await client.until_result(input_id)


def reported(client: Client) -> dict[str, Any]:
    """Return Claude Code's own report of its start."""
    messages = [event["data"]["message"] for event in client.events if event["kind"] == "message"]
    return next(each for each in messages if each.get("subtype") == "init")


def value_of(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


async def test_a_repository_counts_but_for_its_hooks_rules_and_addresses(runner: Runner, model: RecordingModel) -> None:
    folder = workspace(runner, REPOSITORY)
    await runner.begin(options={"setting_sources": ["project"]})
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run touch made")
        asked = await client.until_event("permission_requested")
        await runner.call(f"/permissions/{asked['data']['request_id']}", {"decision": "allow"})
        await client.until_result("one")
        said = reported(client)
    assert (folder / "made").exists()
    assert not (folder / "hook-ran").exists()
    assert "REPOSITORY-INSTRUCTION-77" in model.text
    assert "greet" in said["slash_commands"]
    assert "reviewer" in said["agents"]
    assert "painting" in said["skills"]


async def test_hooks_and_rules_of_a_repository_count_where_it_is_allowed(runner: Runner) -> None:
    folder = workspace(runner, REPOSITORY)
    allowed = {"setting_sources": ["project"], "repository_hooks": True, "repository_rules": True}
    await runner.begin(options=allowed)
    async with runner.open() as client:
        result = await run(client, "demo> run touch made")
        assert result["is_error"] is False
        assert not [event for event in client.events if event["kind"] == "permission_requested"]
    assert (folder / "made").exists()
    assert (folder / "hook-ran").exists()


async def test_without_sources_nothing_of_a_repository_counts(runner: Runner, model: RecordingModel) -> None:
    workspace(runner, REPOSITORY)
    await runner.begin()
    async with runner.open() as client:
        await run(client, "hello")
        said = reported(client)
    assert "REPOSITORY-INSTRUCTION-77" not in model.text
    assert "greet" not in said["slash_commands"]


async def test_slash_commands_and_files_count_only_in_expanded_inputs(runner: Runner, model: RecordingModel) -> None:
    workspace(runner, {**REPOSITORY, "notes.txt": "CONTENT-OF-THE-NOTES"})
    await runner.begin(options={"setting_sources": ["project"]})
    listed = (await runner.call("/commands")).json()["commands"]
    assert {"greet", "compact", "painting"} <= {each["name"] for each in listed}
    async with runner.open() as client:
        assert "hello" not in (await run(client, "/greet you", "plain"))["result"]
        await run(client, "look at @notes.txt", "mention")
        assert "CONTENT-OF-THE-NOTES" not in model.text
        expanded = await runner.call("/input", {"id": "command", "input": "/greet you", "expand": True})
        assert expanded.status_code == 200
        assert "hello you from a command" in (await client.until_result("command"))["result"]
        await runner.call("/input", {"id": "file", "input": "look at @notes.txt", "expand": True})
        await client.until_result("file")
        assert "CONTENT-OF-THE-NOTES" in model.text


async def test_tools_prompts_and_models_arrive(runner: Runner, model: RecordingModel) -> None:
    options = {
        "model": "claude-sonnet-5",
        "fallback_model": "claude-haiku-5",
        "effort": "low",
        "thinking": {"type": "disabled"},
        "tools": ["Read", "Bash"],
        "disallowed_tools": ["Bash"],
        "system_prompt": "You are WHOLLY-REPLACED.",
        "system_prompt_mode": "replace",
    }
    await runner.begin(options=options)
    words = await arguments(runner)
    async with runner.open() as client:
        await run(client, "hello")
        said = reported(client)
    first = model.turns[0]
    assert {"Read"} == {tool["name"] for tool in first["tools"]} == set(said["tools"])
    assert first["model"] == said["model"] == "claude-sonnet-5"
    assert first["output_config"]["effort"] == "low"
    assert first.get("thinking", {"type": "disabled"}) == {"type": "disabled"}
    assert value_of(words, "--fallback-model") == "claude-haiku-5"
    assert "WHOLLY-REPLACED" in json.dumps(first["system"])
    assert "interactive" not in json.dumps(first["system"])


async def test_an_appended_prompt_and_thinking_arrive(runner: Runner, model: RecordingModel) -> None:
    await runner.begin(options={"system_prompt": "ADDED-AT-THE-END", "thinking": {"type": "adaptive"}})
    async with runner.open() as client:
        await run(client, "hello")
    system = json.dumps(model.turns[0]["system"])
    assert "ADDED-AT-THE-END" in system
    assert "Claude" in system
    assert model.turns[0]["thinking"]["type"] == "adaptive"


@pytest.mark.parametrize("mode", ["append", "replace"])
async def test_a_changed_prompt_arrives_in_a_conversation_that_is_resumed(
    runner: Runner, model: RecordingModel, mode: str
) -> None:
    """Claude Code records the system prompt of a conversation, and would send the recorded one after a resume."""
    lives = [{"system_prompt": "FIRST-ONE"}, {"system_prompt": "FIRST-ONE"}, {"system_prompt": "SECOND-ONE"}, {}]
    for generation, prompt in enumerate(lives, 1):
        options = {**prompt, "system_prompt_mode": mode} if prompt else {}
        await runner.begin(generation=generation, resume=generation > 1, options=options)
        async with runner.open() as client:
            await run(client, f"demo> say {generation}", f"i{generation}")
        await runner.stop(final=False)
        assert runner.terminate() == 0
    sent = [json.dumps(turn["system"]) for turn in model.turns]
    assert ["FIRST-ONE" in system for system in sent] == [True, True, False, False]
    assert ["SECOND-ONE" in system for system in sent] == [False, False, True, False]
    assert model.turns[0]["system"] == model.turns[1]["system"], "what did not change is read from the model's cache"
    assert "demo> say 1" in json.dumps(model.turns[3]["messages"])


async def test_a_schema_gives_structured_output(runner: Runner) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    await runner.begin(options={"output_schema": schema})
    async with runner.open() as client:
        result = await run(client, 'demo> tool StructuredOutput {"count": 3}')
        ended = await client.until_event("turn_ended")
    assert result["structured_output"] == {"count": 3}
    assert ended["data"]["structured_output"] == {"count": 3}


async def test_agents_skills_and_plugins_arrive(runner: Runner, model: RecordingModel) -> None:
    plugin = {
        "tools-of-ours/.claude-plugin/plugin.json": json.dumps(
            {"name": "ours", "description": "d", "version": "1.0.0"}
        ),
        "tools-of-ours/commands/shout.md": "demo> say LOUD",
        "tools-of-ours/hooks/hooks.json": json.dumps({"hooks": {"PreToolUse": [HOOK]}}),
    }
    folder = workspace(runner, {**REPOSITORY, **plugin})
    agent = {"description": "counts things", "prompt": "You count.", "tools": ["Read"], "model": "haiku"}
    options = {
        "setting_sources": ["project"],
        "agents": {"counter": agent},
        "skills": [],
        "plugins": ["tools-of-ours"],
        "permission_mode": "acceptEdits",
    }
    await runner.begin(options=options)
    async with runner.open() as client:
        await run(client, "demo> run pwd")
        said = reported(client)
    assert "counter" in said["agents"]
    assert "ours:shout" in said["slash_commands"]
    assert "ours" in {each["name"] for each in said["plugins"]}
    assert not (folder / "hook-ran").exists(), "hooks of plugins are hooks of the repository"
    assert "paints houses" not in model.text


async def test_folders_rules_and_variables_arrive(runner: Runner) -> None:
    folder = workspace(runner, {"lib/a.txt": "a"})
    options = {
        "cwd": "made/here",
        "add_dirs": ["/session/workspace/lib"],
        "env": {"OF_THE_CALLER": "seen"},
        "settings": {"permissions": {"allow": ["Bash(touch:*)"], "deny": ["Bash(rm:*)"]}},
    }
    await runner.begin(options=options)
    words = await arguments(runner)
    async with runner.open() as client:
        await run(client, "demo> run touch here.txt", "allowed")
        denied = await run(client, "demo> run rm here.txt", "denied")
        assert not [event for event in client.events if event["kind"] == "permission_requested"]
        said = reported(client)
    pid_environment = f"{folder}/made/here"
    assert said["cwd"] == pid_environment
    assert (folder / "made/here/here.txt").exists()
    assert "denied" in denied["result"]
    assert value_of(words, "--add-dir") == str(folder / "lib")
    assert json.loads(value_of(words, "--settings"))["env"]["OF_THE_CALLER"] == "seen"


async def test_a_mode_above_the_ceiling_is_refused_in_an_answer(runner: Runner) -> None:
    await runner.begin(options={"permission_modes": ["default", "plan"]})
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> write a.txt text")
        asked = await client.until_event("permission_requested")
        path = f"/permissions/{asked['data']['request_id']}"
        refused = await runner.call(path, {"decision": "allow", "remember": "session"})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_frame")
        assert "acceptEdits" in refused.json()["message"]
        assert (await runner.call(path, {"decision": "allow"})).status_code == 200
        await client.until_result("one")


async def test_effort_and_mode_change_in_a_live_conversation(runner: Runner, model: RecordingModel) -> None:
    await runner.begin(options={"effort": "low"})
    async with runner.open() as client:
        await run(client, "hello", "one")
        assert (await runner.call("/effort", {"value": "high"})).status_code == 200
        assert (await runner.call("/permission-mode", {"value": "auto"})).status_code == 200
        await run(client, "again", "two")
        assert (await runner.call("/answer-within", {"seconds": 60})).status_code == 200
    assert [body["output_config"]["effort"] for body in model.turns] == ["low", "high"]


async def test_without_a_wrapper_of_an_image_the_agent_gives_way_to_its_runner(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    async with runner.open() as client:
        await client.send(type="input", id="i", input="demo> run cat /proc/self/oom_score_adj; nice")
        ended = await client.until_event("tool_ended")
        await client.until_result("i")
    assert runner.process is not None
    own = os.getpriority(os.PRIO_PROCESS, runner.process.pid)
    assert ended["data"]["output"].split() == ["1000", str(min(own + 5, 19))]
    assert Path(f"/proc/{runner.process.pid}/oom_score_adj").read_text() != "1000\n"


@pytest.mark.parametrize("sources", [["project"], []])
async def test_the_deployments_skills_are_the_agents(runner: Runner, tmp_path: Path, sources: list[str]) -> None:
    skill = tmp_path / "skills" / "count-sheep" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: count-sheep\ndescription: Counts sheep.\n---\nCount them.\n")
    (tmp_path / "root" / ".claude").mkdir(parents=True)
    (tmp_path / "root" / ".claude" / "skills").symlink_to(tmp_path / "skills")
    runner.environment["JELMORE_RUNNER_SKILLS"] = str(tmp_path / "root")
    workspace(runner, REPOSITORY)
    await runner.begin(options={"setting_sources": sources})
    async with runner.open() as client:
        await run(client, "demo> run pwd")
        said = reported(client)
    assert ("count-sheep" in said["slash_commands"]) is bool(sources)
    assert ("count-sheep" in said["skills"]) is bool(sources)
