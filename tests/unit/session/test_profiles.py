"""What a profile fixes, bounds and fills in, and how a refusal names the field."""

from typing import Any

import pytest

from jelmore.session.errors import InvalidRequestError
from jelmore.session.profiles import BUILT_IN, Ceiling, Profile, profile_of

SMALL = Profile(
    "small",
    defaults={"model": "haiku", "title": "from the profile"},
    fixed={"permission_mode": "plan"},
    ceiling=Ceiling(
        models=("haiku", "claude-haiku-*"),
        permission_modes=("plan",),
        tools=("Read", "Grep"),
        setting_sources=("project",),
        mcp_servers=("git-*",),
        env=("CI", "APP_*"),
        max_turns=10,
        max_budget_usd=1.5,
        timeout_minutes=60,
        memory_bytes=2**30,
    ),
)


def test_defaults_fill_in_and_what_was_asked_wins_but_for_what_is_fixed() -> None:
    combined = SMALL.combine({"title": "mine", "permission_mode": "plan"})
    assert (combined["model"], combined["title"], combined["permission_mode"]) == ("haiku", "mine", "plan")
    with pytest.raises(InvalidRequestError, match="permission_mode: is fixed by the profile 'small'"):
        SMALL.combine({"permission_mode": "default"})


def test_what_is_unset_and_would_be_endless_gets_the_ceiling() -> None:
    combined = SMALL.combine({})
    bounds = ("max_turns", "max_budget_usd", "timeout_minutes", "tools")
    assert [combined[name] for name in bounds] == [10, 1.5, 60, ["Read", "Grep"]]
    assert "lifetime_s" not in combined


WITHIN: list[dict[str, Any]] = [
    {"model": "claude-haiku-5", "fallback_model": "haiku"},
    {"tools": ["Read"], "allowed_tools": ["Grep(src/**)"], "permission_mode": "plan"},
    {"env": {"CI": "1", "APP_MODE": "x"}, "mcp_servers": {"git-hub": {}}, "setting_sources": ["project"]},
    {"max_turns": 10, "max_budget_usd": 1.5, "timeout_minutes": 60, "limits": {"memory_bytes": 2**30, "cpus": 9}},
    {"agents": {"a": {"model": "haiku", "tools": ["Read"]}}, "repository_hooks": False},
]


@pytest.mark.parametrize("values", WITHIN)
def test_what_is_within_the_ceiling_passes(values: dict[str, Any]) -> None:
    SMALL.check(values)


ABOVE: list[tuple[dict[str, Any], str]] = [
    ({"model": "opus"}, "model: must be one of haiku, claude-haiku-*"),
    ({"model": None}, "model: must be one of"),
    ({"fallback_model": "opus"}, "fallback_model: "),
    ({"permission_mode": "bypassPermissions"}, "permission_mode: must be one of plan"),
    ({"tools": ["Read", "Bash"]}, "tools: 'Bash' is none of Read, Grep"),
    ({"allowed_tools": ["Bash(ls:*)"]}, "allowed_tools: 'Bash' is none of"),
    ({"setting_sources": ["user"]}, "setting_sources: 'user'"),
    ({"mcp_servers": {"other": {}}}, "mcp_servers: 'other'"),
    ({"env": {"SECRET": "x"}}, "env: 'SECRET'"),
    ({"agents": {"a": {"model": "opus"}}}, "agents.a.model: "),
    ({"agents": {"a": {"tools": ["Bash"]}}}, "agents.a.tools: 'Bash'"),
    ({"repository_hooks": True}, "repository_hooks: is not allowed"),
    ({"repository_rules": True}, "repository_rules: is not allowed"),
    ({"max_turns": 11}, "max_turns: must be at most 10, is 11"),
    ({"timeout_minutes": 0}, "timeout_minutes: must be at most 60, is endless"),
    ({"limits": {"memory_bytes": 2**31}}, "limits.memory_bytes: must be at most"),
]


@pytest.mark.parametrize(("values", "refusal"), ABOVE)
def test_what_is_above_the_ceiling_is_refused_by_name(values: dict[str, Any], refusal: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SMALL.check(values)
    assert str(caught.value).startswith(refusal)
    assert "profile 'small'" in str(caught.value)


def test_without_a_file_only_hooks_rules_and_unlisted_variables_are_refused() -> None:
    BUILT_IN.check({"model": None, "permission_mode": "bypassPermissions", "max_turns": 10**6, "env": {"CI": "1"}})
    for values in ({"repository_hooks": True}, {"repository_rules": True}, {"env": {"SECRET": "x"}}):
        with pytest.raises(InvalidRequestError):
            BUILT_IN.check(values)


def test_a_profile_names_a_setup_or_allows_none() -> None:
    asked = {"setup": {"run": "npm ci"}}
    BUILT_IN.check(asked)
    with pytest.raises(InvalidRequestError, match="setup: is not allowed"):
        Profile("none", ceiling=Ceiling(setup=False)).check(asked)
    own = Profile("own", fixed={"setup": {"file": ".jelmore/setup.sh"}})
    assert own.combine({})["setup"] == {"file": ".jelmore/setup.sh"}
    with pytest.raises(InvalidRequestError, match="setup: is fixed"):
        own.combine(asked)


def test_a_session_keeps_the_bounds_of_its_create() -> None:
    kept = profile_of("small", {**SMALL.snapshot(), "of_a_newer_version": 1})
    assert (kept.fixed, kept.ceiling) == (SMALL.fixed, SMALL.ceiling)
    assert profile_of(None, {}).ceiling == Ceiling()
    with pytest.raises(InvalidRequestError, match="permission_mode"):
        kept.check_change({"permission_mode": "default"})
