"""Changes of a session, what callers see of it, and options that restart its agent."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from jelmore.control.requests import Changes, CreateRequest
from jelmore.ports import ListQuery
from jelmore.session.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    UnknownSessionError,
)
from jelmore.session.profiles import Ceiling, Profile
from jelmore.session.states import Presence
from tests.unit.control.manager_harness import PAUSES_THEN_HIBERNATES, ManagerHarness, in_state
from tests.unit.control.world import ADMIN, ALICE, BOB, READER, until


@pytest.mark.parametrize("state", ["active", "waiting", "frozen", "hibernated", "terminated"])
async def test_changes_are_kept_and_reach_the_agent(harness: ManagerHarness, state: str) -> None:
    session_id = await in_state(harness, state)
    changes = Changes(title="t", metadata={"a": 1}, archived=True, timeout_s=60, model="opus", permission_mode="plan")
    changed = (await harness.commands.change(ALICE, session_id, changes)).session
    assert (changed.title, changed.metadata, changed.archived) == ("t", {"a": 1}, True)
    assert (changed.spec.timing.timeout_s, changed.spec.model, changed.spec.permission_mode) == (60, "opus", "plan")
    if state in {"active", "waiting", "frozen"}:
        assert harness.runner(session_id).model == "opus"


async def test_a_change_is_an_event_that_names_the_fields_and_no_change_is_none(harness: ManagerHarness) -> None:
    session_id = await in_state(harness, "hibernated")

    async def changed() -> list[Any]:
        events = await harness.world.store.events(session_id, 0, 1000)
        return [event.payload for event in events if event.type == "session.changed"]

    changes = Changes(
        title="t", timeout_s=60, tags=("a",), limits={"workspace_bytes": 2**33}, options={"effort": "low"}
    )
    await harness.commands.change(ALICE, session_id, changes)
    assert await changed() == [{"fields": ["effort", "limits", "tags", "timeout_minutes", "title"]}]
    await harness.commands.change(ALICE, session_id, changes)
    await harness.commands.change(ALICE, session_id, Changes())
    assert len(await changed()) == 1


async def test_a_session_whose_pause_is_postponed_is_not_paused(harness: ManagerHarness) -> None:
    session_id = await harness.create(timing=PAUSES_THEN_HIBERNATES)
    await harness.commands.change(ALICE, session_id, Changes(idle_after_s=1000, hibernate_after_s=2000))
    await asyncio.sleep(900)
    assert (await harness.record(session_id)).presence is Presence.AWAKE
    await harness.commands.change(ALICE, session_id, Changes(hibernate_after_s=5))
    await until(harness.world, session_id, lambda one: one.presence is Presence.HIBERNATED, "hibernated")


async def test_everybody_sees_what_is_theirs(harness: ManagerHarness) -> None:
    session_id = await harness.create()
    for caller in (ALICE, ADMIN, READER):
        assert (await harness.queries.get(caller, session_id)).id == session_id
        assert (await harness.queries.list(caller, ListQuery()))[1] == 1
    assert (await harness.queries.list(BOB, ListQuery()))[1] == 0
    for call in (
        harness.queries.get(BOB, session_id),
        harness.commands.delete(BOB, session_id, reason="r", wait=False),
        harness.commands.input(BOB, session_id, "go", input_id=None, wait_s=None),
        harness.commands.restart(BOB, session_id),
        harness.commands.change(BOB, session_id, Changes(title="t")),
        harness.queries.output(BOB, session_id, 0, 10, ()),
        harness.queries.get(ALICE, uuid4()),
    ):
        with pytest.raises(UnknownSessionError):
            await call
    with pytest.raises(ForbiddenError):
        await harness.commands.delete(READER, session_id, reason="r", wait=False)
    stats = await harness.queries.stats(ALICE)
    assert (stats.to_mapping()["total"], stats.slots_used, stats.slots_total) == (1, 1, 3)


async def test_a_restarted_managers_cache_does_not_lie(harness: ManagerHarness) -> None:
    session_id = await harness.create()
    harness.world.records.away = True
    await harness.commands.change(ALICE, session_id, Changes(title="new"))
    harness.world.records.away = False
    assert (await harness.queries.get(ALICE, session_id)).title == "new"
    harness.world.records.wipe()
    assert (await harness.queries.get(ALICE, session_id)).title == "new"
    assert replace(await harness.record(session_id)) == await harness.queries.get(ALICE, session_id)


@pytest.mark.parametrize("state", ["waiting", "frozen"])
async def test_an_option_that_needs_it_restarts_the_agent_and_says_so(harness: ManagerHarness, state: str) -> None:
    session_id = await in_state(harness, state)
    before = (await harness.record(session_id)).generation
    changes = Changes(
        model="opus",
        system_prompt="Be brief.",
        mcp_servers={"m": {"command": "x"}},
        options={"effort": "low", "tools": ["Read"]},
    )
    changed = await harness.commands.change(ALICE, session_id, changes)
    assert changed.restarted_for == ("mcp_servers", "system_prompt", "tools")
    assert changed.session.generation == before + 1
    assert changed.session.container_id is not None
    init = harness.runner(session_id).init
    assert init is not None
    assert init.resume
    assert (init.options.system_prompt, init.options.tools, init.options.effort) == ("Be brief.", ["Read"], "low")
    assert "m" in init.options.mcp_servers


async def test_an_option_that_changes_live_restarts_nothing(harness: ManagerHarness) -> None:
    session_id = await in_state(harness, "active")
    changes = Changes(answer_within_s=60, options={"effort": "high"})
    changed = await harness.commands.change(ALICE, session_id, changes)
    assert changed.restarted_for == ()
    assert changed.session.spec.options == {"effort": "high"}
    assert harness.runner(session_id).changes == [("effort", "high"), ("answer_within", 60)]


async def test_a_running_turn_is_not_lost_for_an_option(harness: ManagerHarness) -> None:
    session_id = await in_state(harness, "active")
    with pytest.raises(ConflictError, match="tools: needs a restart"):
        await harness.commands.change(ALICE, session_id, Changes(options={"tools": []}))
    assert (await harness.record(session_id)).spec.options == {}


@pytest.mark.parametrize("state", ["hibernated", "terminated"])
async def test_a_session_without_an_agent_takes_options_at_its_next_start(harness: ManagerHarness, state: str) -> None:
    session_id = await in_state(harness, state)
    changed = await harness.commands.change(ALICE, session_id, Changes(options={"tools": ["Read"]}))
    assert (changed.restarted_for, changed.session.spec.options) == ((), {"tools": ["Read"]})


async def test_a_change_is_checked_against_the_profile_of_the_create(harness: ManagerHarness) -> None:
    profile = Profile("small", fixed={"model": "haiku"}, ceiling=Ceiling(permission_modes=("default",), max_turns=5))
    created = await harness.commands.create(ALICE, CreateRequest(profile=profile), idempotency=None, wait=True)
    for changes, field in (
        (Changes(model="opus"), "model: is fixed"),
        (Changes(permission_mode="plan"), "permission_mode: must be one of default"),
        (Changes(max_turns=9), "max_turns: must be at most 5"),
        (Changes(options={"repository_hooks": True}), "repository_hooks: is not allowed"),
    ):
        with pytest.raises(InvalidRequestError, match=field):
            await harness.commands.change(ALICE, created.session.id, changes)
    init = harness.runner(created.session.id).init
    assert init is not None
    assert init.options.permission_modes == ["default"]
    assert init.options.setting_sources == ["project"]


async def test_commands_are_those_of_an_agent_that_runs(harness: ManagerHarness) -> None:
    session_id = await in_state(harness, "waiting")
    assert [each.name for each in await harness.commands.slash_commands(ALICE, session_id)] == ["compact"]
    sleeping_session = await in_state(harness, "hibernated")
    with pytest.raises(ConflictError, match="not awake"):
        await harness.commands.slash_commands(ALICE, sleeping_session)
