"""Which session can have the Claude Code that was started before it was there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jelmore_protocol.control import AgentOptions
from jelmore_runner.agents.claude.ahead import fits, may_rehearse, start_of
from jelmore_runner.agents.claude.options import Launch
from jelmore_runner.settings import Address, Settings

NOWHERE = Address.parse("unix:/nowhere")
SETTINGS = Settings(NOWHERE, NOWHERE, NOWHERE, Path("/session"), claude="/claude")
PLAIN = {"setting_sources": ["project"]}

CHANGED: dict[str, Any] = {
    "model": "m",
    "allowed_tools": ["Bash"],
    "disallowed_tools": ["Bash"],
    "tools": ["Bash"],
    "system_prompt": "be brief",
    "system_prompt_mode": "replace",
    "max_turns": 2,
    "max_budget_usd": 1.0,
    "mcp_servers": {"a": {"type": "http", "url": "http://a"}},
    "setting_sources": [],
    "repository_hooks": True,
    "repository_rules": True,
    "thinking": {"type": "disabled"},
    "effort": "low",
    "fallback_model": "m",
    "output_schema": {"type": "object"},
    "agents": {"a": {"description": "d", "prompt": "p"}},
    "skills": "all",
    "plugins": ["p"],
    "add_dirs": ["d"],
    "cwd": "d",
    "settings": {"permissions": {"deny": ["Bash"]}},
    "env": {"TOKEN": "secret"},
}
LIVE: dict[str, Any] = {"permission_mode": "plan"}
OF_THE_RUNNER: dict[str, Any] = {"answer_within_s": 5, "permission_modes": ["plan"]}


def launch(**options: Any) -> Launch:
    return Launch(SETTINGS, "id", AgentOptions.model_validate(PLAIN | options), 1, 2)


def fitting(ahead: Launch, wanted: Launch) -> bool:
    return fits(ahead, wanted, replace(start_of(wanted), permission_mode=wanted.options.permission_mode))


def test_every_option_is_decided_on() -> None:
    assert {*CHANGED, *LIVE, *OF_THE_RUNNER} == set(AgentOptions.model_fields)


@pytest.mark.parametrize("name", CHANGED)
def test_an_option_that_is_fixed_at_the_start_must_be_equal(name: str) -> None:
    changed = launch(**{name: CHANGED[name]})
    assert not fitting(launch(), changed)
    assert not fitting(changed, launch())
    assert fitting(changed, changed)


@pytest.mark.parametrize("options", [LIVE, OF_THE_RUNNER, {}])
def test_what_a_live_conversation_can_change_may_differ(options: dict[str, Any]) -> None:
    assert fitting(launch(), launch(**options))


def test_outside_of_a_container_a_process_skips_permissions_only_if_it_was_started_for_that() -> None:
    skipping = launch(permission_mode="bypassPermissions")
    assert fitting(launch(), skipping)
    outside = replace(skipping, settings=replace(SETTINGS, claude=None))
    assert not fitting(replace(launch(), settings=outside.settings), outside)
    assert not fitting(outside, replace(launch(), settings=outside.settings)), "nor may it be allowed to later on"
    assert fitting(outside, outside)


def test_the_conversation_and_the_ways_out_must_be_those_of_the_process() -> None:
    ahead, start = launch(), start_of(launch())
    assert fits(ahead, ahead, start)
    assert not fits(ahead, ahead, replace(start, resume=True))
    assert not fits(ahead, ahead, replace(start, conversation_id="another"))
    assert not fits(ahead, ahead, replace(start, max_budget_usd=1.0))
    assert not fits(ahead, replace(ahead, session_id="another"), start)
    assert not fits(ahead, replace(ahead, gateway_port=9), start)
    assert not fits(ahead, replace(ahead, egress_port=9), start)


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ({}, True),
        ({"system_prompt": "be brief", "effort": "low", "permission_mode": "plan", "max_turns": 1}, True),
        ({"fallback_model": "m"}, False),
        ({"plugins": ["p"]}, False),
        ({"repository_hooks": True}, False),
    ],
)
def test_no_turn_is_rehearsed_that_may_have_an_effect(options: dict[str, Any], may: bool) -> None:
    assert may_rehearse(launch(**options).options) is may
